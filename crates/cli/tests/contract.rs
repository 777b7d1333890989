//! Every operation of docs/openapi.yaml, asked of a real server, and the answer held against the document.
//!
//! Whoever adds an operation adds its case in `contract/cases.rs`. The last line that this prints is how many of
//! the operations are covered, for `cargo xtask coverage`.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

#[path = "contract/cases.rs"]
mod cases;
#[path = "contract/document.rs"]
mod document;
#[path = "contract/site.rs"]
mod site;

use std::collections::BTreeSet;

use cases::Case;
use document::Document;
use site::Site;

#[test]
fn the_document_lists_what_the_server_registers_and_nothing_else() {
    let document = Document::read();
    let registered: BTreeSet<(String, String, String)> = mainstay_server::operations()
        .map(|it| {
            let scope = it.scope.map_or("none", mainstay_server::Scope::name);
            (it.path.to_owned(), it.method.to_owned(), scope.to_owned())
        })
        .collect();
    let documented: BTreeSet<_> = document.operations().into_iter().collect();
    let missing: Vec<_> = registered.difference(&documented).collect();
    let made_up: Vec<_> = documented.difference(&registered).collect();
    assert!(
        missing.is_empty() && made_up.is_empty(),
        "registered, and not so in docs/openapi.yaml: {missing:#?}\nin docs/openapi.yaml, and not so registered: \
         {made_up:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_answers_as_the_document_says() {
    let document = Document::read();
    let mut site = Site::start().await;
    let mut covered = BTreeSet::new();
    let mut wrong = Vec::new();
    for make in cases::ALL {
        let case = make(&site);
        match held(&document, &mut site, &case).await {
            Ok(()) => drop(covered.insert((case.path.to_owned(), case.method.to_owned()))),
            Err(why) => wrong.push(format!("{} {}: {why}", case.method, case.url)),
        }
    }
    let all: BTreeSet<(String, String)> = document
        .operations()
        .into_iter()
        .map(|(path, method, _)| (path, method))
        .collect();
    let uncovered: Vec<_> = all.difference(&covered).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        uncovered.is_empty(),
        "without a contract test: {uncovered:#?}"
    );
    println!(
        "contract tests: {} of {} operations",
        covered.len(),
        all.len()
    );
}

/// Asks, and holds the answer against the document.
async fn held(document: &Document, site: &mut Site, case: &Case) -> Result<(), String> {
    let answer = site.ask(case).await;
    if answer.status != case.status {
        return Err(format!(
            "answered {}, not {}: {}",
            answer.status, case.status, answer.body
        ));
    }
    document.check(case, &answer)?;
    site.learn(case, &answer);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_served_document_is_the_committed_one_and_names_no_stranger() {
    let site = Site::start().await;
    let served = site.get("/api/openapi.json").await;
    let served: serde_json::Value = serde_json::from_str(&served.body).unwrap();
    let document = Document::read();
    assert_eq!(&served, document.value());
    document.resolve_all();
}
