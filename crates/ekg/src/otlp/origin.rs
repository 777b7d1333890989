//! Where points come from: what the series of a resource, or of a scope in it, have in common.
//!
//! Guarantees: `job` and `instance` stand, whatever a point says; attributes whose names become the same are joined in
//! the order of their keys, so that the same point is the same series always.

use std::collections::BTreeMap;

use super::{
    OtlpSettings,
    message::{Resource, Scope, ScopeMetrics},
    name,
    value::Attribute,
};

const NAMESPACE: &str = "service.namespace";
const NAME: &str = "service.name";
const INSTANCE: &str = "service.instance.id";

/// Names and values of labels.
pub(super) type Pairs = Vec<(String, String)>;

/// What all series of a resource, or of a scope in it, have in common.
pub(super) struct Origin {
    /// `job` and `instance`: they stand whatever a point says.
    identity: Pairs,
    /// Of the scope: they stand as well.
    scope: Pairs,
    /// Of the resource: what a point says of the same name stands.
    promoted: Pairs,
}

impl Origin {
    pub(super) fn new(resource: &Resource<'_>, settings: &OtlpSettings) -> Self {
        let said = |key: &str| {
            let found = resource.attributes.iter().find(|it| it.key == key);
            found.map(|it| &*it.value)
        };
        let job = said(NAME).map(|name| match said(NAMESPACE) {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        });
        let instance = said(INSTANCE).map(str::to_owned);
        let identity = [("job", job), ("instance", instance)];
        let identity = identity.into_iter();
        let promoted = settings.promote_resource_attributes.iter();
        Self {
            identity: identity
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect(),
            scope: Vec::new(),
            promoted: promoted
                .filter_map(|key| Some((name::label(key)?, said(key)?.to_owned())))
                .collect(),
        }
    }

    pub(super) fn in_scope(&self, metrics: &ScopeMetrics<'_>, settings: &OtlpSettings) -> Self {
        let scope = &metrics.scope;
        let wanted = settings.promote_scope_metadata && !scope.name.is_empty();
        Self {
            identity: self.identity.clone(),
            promoted: self.promoted.clone(),
            scope: wanted
                .then(|| scope_labels(scope, &metrics.schema_url))
                .into_iter()
                .flatten()
                .collect(),
        }
    }

    /// The labels of a point. Attributes whose names become the same are joined, in the order of their keys; one whose
    /// name has nothing left in it is an error.
    pub(super) fn labels(&self, attributes: &[Attribute<'_>]) -> Result<Pairs, String> {
        let mut labels = BTreeMap::<String, String>::new();
        let mut sorted: Vec<&Attribute<'_>> = attributes.iter().collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        for attribute in sorted {
            let named = name::label(&attribute.key);
            let named = named.ok_or_else(|| {
                format!("the attribute {:?} has no letter or digit", attribute.key)
            })?;
            let value = labels.entry(named);
            value
                .and_modify(|value| {
                    value.push(';');
                    value.push_str(&attribute.value);
                })
                .or_insert_with(|| attribute.value.to_string());
        }
        for (name, value) in &self.promoted {
            labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
        labels.extend(self.scope.iter().chain(&self.identity).cloned());
        Ok(labels.into_iter().collect())
    }

    /// The labels of `target_info`, if they say anything.
    pub(super) fn info(&self, resource: &Resource<'_>, settings: &OtlpSettings) -> Option<Pairs> {
        let identifying = |key: &str| [NAMESPACE, NAME, INSTANCE].contains(&key);
        let more = resource.attributes.iter().any(|it| !identifying(&it.key));
        if !more || self.identity.is_empty() {
            return None;
        }
        let said = resource.attributes.iter();
        let said = said
            .filter(|it| settings.keep_identifying_resource_attributes || !identifying(&it.key));
        let said = said.filter(|it| name::label(&it.key).is_some());
        let said: Vec<Attribute<'_>> = said
            .map(|it| Attribute {
                key: (&*it.key).into(),
                value: (&*it.value).into(),
            })
            .collect();
        let plain = Self {
            identity: self.identity.clone(),
            scope: Vec::new(),
            promoted: Vec::new(),
        };
        plain.labels(&said).ok()
    }
}

fn scope_labels(scope: &Scope<'_>, schema_url: &str) -> Pairs {
    let own = [
        ("otel_scope_name", &*scope.name),
        ("otel_scope_version", &*scope.version),
        ("otel_scope_schema_url", schema_url),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let attributes = scope.attributes.iter().filter_map(|it| {
        let name = name::label(&format!("otel_scope_{}", it.key))?;
        Some((name, it.value.to_string()))
    });
    attributes.chain(own).collect()
}
