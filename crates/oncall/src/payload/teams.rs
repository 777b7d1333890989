//! Cards of Microsoft Teams: for connectors, and for workflows.

use serde_json::{Value, json};

use super::Filler;
use crate::{config::channels::Teams, template::TemplateError};

fn or_default(
    own: Option<&String>,
    name: &str,
    fill: &Filler<'_>,
) -> Result<String, TemplateError> {
    let default = || format!("{{{{ template \"{name}\" . }}}}");
    fill.text(&own.cloned().unwrap_or_else(default))
}

/// For a connector.
pub fn teams(config: &Teams, fill: &Filler<'_>, fires: bool) -> Result<Value, TemplateError> {
    Ok(json!({
        "@context": "http://schema.org/extensions",
        "type": "MessageCard",
        "title": or_default(config.title.as_ref(), "msteams.default.title", fill)?,
        "summary": or_default(config.summary.as_ref(), "msteams.default.summary", fill)?,
        "text": or_default(config.text.as_ref(), "msteams.default.text", fill)?,
        "themeColor": if fires { "8C1A1A" } else { "2DC72D" },
    }))
}

/// For a workflow.
pub fn teams_v2(config: &Teams, fill: &Filler<'_>, fires: bool) -> Result<Value, TemplateError> {
    let title = or_default(config.title.as_ref(), "msteamsv2.default.title", fill)?;
    let text = or_default(config.text.as_ref(), "msteamsv2.default.text", fill)?;
    let color = if fires { "Attention" } else { "Good" };
    Ok(json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.2",
                "body": [
                    {"type": "TextBlock", "text": title, "weight": "Bolder", "size": "Medium", "wrap": true, "style": "heading", "color": color},
                    {"type": "TextBlock", "text": text, "wrap": true},
                ],
                "msteams": {"width": "full"},
            },
        }],
    }))
}
