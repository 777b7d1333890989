//! What a person is told: the texts of a page, by each kind of channel.
//!
//! Guarantees: pure; the same page gives the same bytes. Says what is wrong, how bad it is, why this person is told,
//! and how to answer.

use mainstay_core::{ChangeId, Name, Time, escalation::Severity};
use serde_json::{Value, json};

use crate::incident::AT_P0;

/// Other incidents that one message names; of more it says how many.
const NAMED_MAX: usize = 20;
/// Letters of a summary, as PagerDuty has it.
const SUMMARY_MAX: usize = 1_024;

/// One incident, in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Which.
    pub incident: ChangeId,
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub title: String,
    /// The page, for a receiver that gets it twice.
    pub key: String,
    /// Where one can acknowledge it; none where this server is not reached from outside.
    pub acknowledge: Option<String>,
}

/// A page as a channel is given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// To whom.
    pub person: Name,
    /// By which of their channels.
    pub channel: Name,
    /// Of which step.
    pub step: u32,
    /// When.
    pub at: Time,
    /// What it is about, first.
    pub about: About,
    /// What waited and is told with it.
    pub others: Vec<About>,
}

impl Letter {
    /// In a line.
    pub fn subject(&self) -> String {
        let About {
            severity, title, ..
        } = &self.about;
        match self.others.len() {
            0 => format!("[{severity}] {title}"),
            more => format!("[{severity}] {title}, and {more} more"),
        }
    }

    /// In full, without markup.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        for it in std::iter::once(&self.about).chain(self.others.iter().take(NAMED_MAX)) {
            lines.push(format!("[{}] {} ({})", it.severity, it.title, it.incident));
            lines.push(match &it.acknowledge {
                Some(link) => format!("  acknowledge: {link}"),
                None => format!("  acknowledge: mainstay ack {}", it.incident),
            });
        }
        if let Some(more) = self
            .others
            .len()
            .checked_sub(NAMED_MAX)
            .filter(|it| *it > 0)
        {
            lines.push(format!("and {more} more: mainstay incident list"));
        }
        lines.push(self.why());
        lines.join("\n")
    }

    fn why(&self) -> String {
        match self.step {
            AT_P0 => format!("{} is told of every P0.", self.person),
            step => format!("{} is told at step {}.", self.person, step + 1),
        }
    }

    /// For a webhook.
    pub fn json(&self) -> Value {
        let of = |it: &About| {
            json!({
                "incident": it.incident,
                "severity": it.severity,
                "title": it.title,
                "key": it.key,
                "acknowledge": it.acknowledge,
            })
        };
        let mut body = of(&self.about);
        body["person"] = json!(self.person);
        body["channel"] = json!(self.channel);
        body["step"] = match self.step {
            AT_P0 => json!("at-p0"),
            step => json!(step + 1),
        };
        body["at"] = json!(self.at.to_string());
        body["others"] = self.others.iter().map(of).collect();
        body
    }

    /// For Slack.
    pub fn slack(&self, channel: &str) -> Value {
        let mut body = json!({
            "text": format!("{}\n{}", self.subject(), self.text()),
        });
        if !channel.is_empty() {
            body["channel"] = channel.into();
        }
        body
    }

    /// For a connector of Microsoft Teams.
    pub fn teams(&self) -> Value {
        json!({
            "@context": "http://schema.org/extensions",
            "type": "MessageCard",
            "title": self.subject(),
            "summary": self.subject(),
            "text": self.text().replace('\n', "\n\n"),
            "themeColor": "8C1A1A",
        })
    }

    /// For a workflow of Microsoft Teams.
    pub fn teams_v2(&self) -> Value {
        let block = |text: String, weight: &str| json!({"type": "TextBlock", "text": text, "weight": weight, "wrap": true});
        json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.2",
                    "body": [block(self.subject(), "Bolder"), block(self.text().replace('\n', "\n\n"), "Default")],
                },
            }],
        })
    }

    /// For PagerDuty's Events API v2: one incident here is one there, however often it is told.
    pub fn pagerduty(&self, key: &str) -> Value {
        let severity = match self.about.severity {
            Severity::P0 => "critical",
            Severity::P1 => "error",
            Severity::P2 => "warning",
            Severity::P3 | Severity::P4 => "info",
        };
        let summary: String = self.subject().chars().take(SUMMARY_MAX).collect();
        json!({
            "routing_key": key,
            "dedup_key": format!("{}/{}", self.about.incident, self.person),
            "event_action": "trigger",
            "payload": {
                "summary": summary,
                "source": "mainstay",
                "severity": severity,
                "custom_details": self.json(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(others: usize) -> Letter {
        let about = |n: usize| About {
            incident: format!("inc-{n}").parse().unwrap(),
            severity: Severity::P1,
            title: "the shop is slow".to_owned(),
            key: format!("key-{n}"),
            acknowledge: (n == 0).then(|| "https://ops.example/a/1".to_owned()),
        };
        Letter {
            person: Name::new("alice").unwrap(),
            channel: Name::new("push").unwrap(),
            step: 1,
            at: Time::from_millis(0),
            about: about(0),
            others: (1..=others).map(about).collect(),
        }
    }

    #[test]
    fn a_page_says_what_how_bad_why_and_how_to_answer() {
        let letter = letter(0);
        assert_eq!(letter.subject(), "[P1] the shop is slow");
        let text = letter.text();
        for said in [
            "https://ops.example/a/1",
            "inc-0",
            "alice is told at step 2.",
        ] {
            assert!(text.contains(said), "{said} in {text}");
        }
        assert_eq!(letter.json()["key"], "key-0");
        assert_eq!(letter.pagerduty("R")["dedup_key"], "inc-0/alice");
        assert_eq!(letter.slack("#ops")["channel"], "#ops");
    }

    #[test]
    fn what_waited_is_told_in_one_message_that_leaves_nothing_out() {
        let letter = letter(25);
        assert_eq!(letter.subject(), "[P1] the shop is slow, and 25 more");
        let text = letter.text();
        assert!(
            text.contains("inc-20") && text.contains("and 5 more"),
            "{text}"
        );
        assert_eq!(letter.json()["others"].as_array().unwrap().len(), 25);
    }
}
