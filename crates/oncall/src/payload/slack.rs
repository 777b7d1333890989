//! A message of Slack with one attachment.

use serde_json::{Map, Value};

use super::{Filler, at_most};
use crate::{
    config::channels::{Slack, SlackAction},
    template::TemplateError,
};

/// Letters of a title.
const TITLE_MAX: usize = 1024;

/// Where empty texts are left out.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, name: &str, text: String) {
        if !text.is_empty() {
            self.0.insert(name.to_owned(), text.into());
        }
    }

    fn list(&mut self, name: &str, list: Vec<Value>) {
        if !list.is_empty() {
            self.0.insert(name.to_owned(), list.into());
        }
    }
}

/// The body.
pub fn slack(config: &Slack, fill: &Filler<'_>) -> Result<Value, TemplateError> {
    let mut attachment = Fields::default();
    attachment.put("title", at_most(fill.text(&config.title)?, TITLE_MAX));
    for (name, text) in [
        ("title_link", &config.title_link),
        ("pretext", &config.pretext),
        ("text", &config.text),
        ("fallback", &config.fallback),
        ("callback_id", &config.callback_id),
    ] {
        attachment.put(name, fill.text(text)?);
    }
    let fields = config.fields.iter().map(|field| {
        Ok::<_, TemplateError>(serde_json::json!({
            "title": fill.text(&field.title)?,
            "value": fill.text(&field.value)?,
            "short": field.short.unwrap_or(config.short_fields),
        }))
    });
    attachment.list("fields", fields.collect::<Result<_, _>>()?);
    let actions = config.actions.iter().map(|it| action(it, fill));
    attachment.list("actions", actions.collect::<Result<_, _>>()?);
    for (name, text) in [
        ("image_url", &config.image_url),
        ("thumb_url", &config.thumb_url),
        ("footer", &config.footer),
        ("color", &config.color),
    ] {
        attachment.put(name, fill.text(text)?);
    }
    let marked: Vec<Value> = if config.mrkdwn_in.is_empty() {
        ["fallback", "pretext", "text"].map(Value::from).into()
    } else {
        config
            .mrkdwn_in
            .iter()
            .map(|it| it.as_str().into())
            .collect()
    };
    attachment.list("mrkdwn_in", marked);
    let mut message = Fields::default();
    for (name, text) in [
        ("channel", &config.channel),
        ("username", &config.username),
        ("icon_emoji", &config.icon_emoji),
        ("icon_url", &config.icon_url),
        ("text", &config.message_text),
    ] {
        message.put(name, fill.text(text)?);
    }
    if config.link_names {
        message.0.insert("link_names".to_owned(), true.into());
    }
    message.list("attachments", vec![Value::Object(attachment.0)]);
    Ok(Value::Object(message.0))
}

fn action(action: &SlackAction, fill: &Filler<'_>) -> Result<Value, TemplateError> {
    let mut fields = Fields::default();
    for (name, text) in [
        ("type", &action.kind),
        ("text", &action.text),
        ("url", &action.url),
        ("style", &action.style),
        ("name", &action.name),
        ("value", &action.value),
    ] {
        fields.put(name, fill.text(text)?);
    }
    if let Some(confirm) = &action.confirm {
        let mut asked = Fields::default();
        for (name, text) in [
            ("title", &confirm.title),
            ("text", &confirm.text),
            ("ok_text", &confirm.ok_text),
            ("dismiss_text", &confirm.dismiss_text),
        ] {
            asked.put(name, fill.text(text)?);
        }
        fields
            .0
            .insert("confirm".to_owned(), Value::Object(asked.0));
    }
    Ok(Value::Object(fields.0))
}
