//! By which contacts a responder is reached at a time.

use jiff::Timestamp;
use mainstay_core::{
    Name,
    oncall::{Contact, ContactRule, ResponderSpec},
};

use super::{civil::Zone, hours::stretches};

/// The contacts of the first rule that fits, in its order; all in theirs where none does. Where no severity is given,
/// rules that ask for one do not fit.
pub fn contacts<'a>(
    spec: &'a ResponderSpec,
    severity: Option<&Name>,
    at: Timestamp,
) -> Vec<&'a Contact> {
    let rule = spec
        .rules
        .iter()
        .find(|rule| fits(spec, rule, severity, at));
    let named = |rule: &'a ContactRule| {
        let contact = |name: &Name| spec.contacts.iter().find(|it| it.name == *name);
        rule.contacts.iter().filter_map(contact).collect::<Vec<_>>()
    };
    rule.map(named)
        .filter(|named| !named.is_empty())
        .unwrap_or_else(|| spec.contacts.iter().collect())
}

fn fits(spec: &ResponderSpec, rule: &ContactRule, severity: Option<&Name>, at: Timestamp) -> bool {
    let is_asked = severity.is_some_and(|it| rule.severities.contains(it));
    if !rule.severities.is_empty() && !is_asked {
        return false;
    }
    // A zone that this machine does not know any more has no hours: the rule is left out, its contacts are not lost.
    let zone = Zone::named(&spec.zone).ok();
    let after = at
        .saturating_add(jiff::SignedDuration::from_nanos(1))
        .unwrap_or(at);
    rule.hours.is_empty()
        || zone.is_some_and(|zone| !stretches(&zone, &rule.hours, (at, after)).is_empty())
}
