//! Acknowledging by a link.

use mainstay_core::{
    Actor,
    ports::{Declined, No},
};
use serde_json::{Value, json};

use super::{Desk, desk::unavailable};
use crate::incident::{Input, summary};

impl Desk {
    /// What a link is about; none where it was not made here.
    pub fn linked(&self, token: &str) -> Result<Value, Declined> {
        let said = self.links.read(token).ok_or_else(no_link)?;
        let folded = self.book.get(&said.incident).ok_or_else(no_link)?;
        let mut shown = summary(&folded);
        shown["person"] = json!(said.person);
        shown["isCurrent"] = json!(folded.state.demand == said.demand && folded.state.is_open());
        Ok(shown)
    }

    /// Acknowledges by a link.
    pub async fn acknowledge_by_link(&self, token: &str) -> Result<Value, Declined> {
        let said = self.links.read(token).ok_or_else(no_link)?;
        let read = self.book.read(&self.ports, &said.incident).await;
        let folded = read
            .map_err(|error| unavailable(&error))?
            .ok_or_else(no_link)?;
        if folded.state.demand != said.demand || !folded.state.is_open() {
            return Err(Declined::new(
                No::Conflict,
                "link-over",
                "people were asked anew since this link was sent, or it is over",
                "use the link of the last message, or `mainstay ack`",
            ));
        }
        let input = Input::Acknowledge {
            by: said.person.to_string(),
            via: "link".to_owned(),
        };
        let actor = Actor::verified(said.person.as_str());
        let after = self.act(actor, &said.incident, vec![input]).await?;
        Ok(summary(&after))
    }
}

fn no_link() -> Declined {
    Declined::new(
        No::Unknown,
        "unknown-link",
        "this link was not made here, or its incident is closed",
        "use the link as it was sent, or `mainstay ack`",
    )
}
