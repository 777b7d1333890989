//! Parts in a folder of copies.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use mainstay_archive::adapter::{Copier, CopierConfig, CopySeen, Report, Shown, restore};
use mainstay_core::{Span, Time};
use mainstay_tsdb::{Head, Tiers};
use mainstay_wal::LocalDisk;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::engine::{BEGAN_MS, HOUR_MS, Hands, LOOK, delete, engine, fill, place, until, values};

/// A copier at work.
struct Copying {
    seen: Shown<CopySeen>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn copying(head: &Head, folder: &Path, clock: &Hands, (server, keep): (&str, Span)) -> Copying {
    let copier = Copier::new(CopierConfig {
        look_every: LOOK,
        tsdb: head.tsdb(),
        tiers: Tiers::default(),
        clock: Arc::new(clock.clone()),
        place: place(folder),
        keep,
        server: server.to_owned(),
    });
    let (seen, stop) = (copier.seen(), CancellationToken::new());
    let task = tokio::spawn(copier.run(stop.clone()));
    Copying { seen, stop, task }
}

impl Copying {
    async fn until(&self, holds: impl Fn(&CopySeen) -> bool) -> CopySeen {
        until(|| self.seen.get(), holds).await
    }
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn restored(folder: &Path, at: Option<Time>, into: &Path) -> Report {
    let disk = LocalDisk::open(into).unwrap().sparing(0);
    restore(&place(folder), at, &disk, &mut |_| {})
        .await
        .unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries.map(|it| it.unwrap().path()).collect();
    files.sort();
    files
}

const DAY: Span = Span::from_secs(24 * 60 * 60);

#[tokio::test(flavor = "multi_thread")]
async fn what_rests_is_copied_and_comes_back_and_a_deletion_holds_in_the_copy() {
    let dir = TempDir::new().unwrap();
    let copies = dir.path().join("copies");
    let clock = Hands::at(BEGAN_MS + 3 * HOUR_MS);
    let mut head = engine(&dir.path().join("live"));
    fill(&mut head, 0..4);
    let copier = copying(&head, &copies, &clock, ("one", DAY));
    let seen = copier.until(|it| it.parts == 3).await;
    assert_eq!(
        (seen.waiting_parts, seen.samples),
        (0, 6),
        "the last hour is not over"
    );
    assert_eq!(seen.newest, Some(Time::from_millis(BEGAN_MS + 2 * HOUR_MS)));
    copier.until(|it| it.waiting_since.is_none()).await;
    assert_eq!(files(&copies.join("parts")).len(), 3);

    let back = dir.path().join("back");
    let report = restored(&copies, None, &back).await;
    assert_eq!((report.restored.parts, report.without), (3, Vec::new()));
    assert_eq!(report.server, "one");
    let both = |of: &[f64]| vec![("a".to_owned(), of.to_vec()), ("b".to_owned(), of.to_vec())];
    assert_eq!(values(&engine(&back)), both(&[0.0, 1.0, 2.0]));

    let listing = copier.seen.get().listing;
    let before = clock
        .0
        .fetch_add(1_000, std::sync::atomic::Ordering::Relaxed);
    delete(&mut head, "a", BEGAN_MS + 3 * HOUR_MS);
    copier.until(|it| it.listing > listing).await;
    let later = dir.path().join("later");
    restored(&copies, None, &later).await;
    assert_eq!(values(&engine(&later)), both(&[0.0, 1.0, 2.0])[1..]);
    let earlier = dir.path().join("earlier");
    restored(&copies, Some(Time::from_millis(before)), &earlier).await;
    assert_eq!(
        values(&engine(&earlier)),
        both(&[0.0, 1.0, 2.0]),
        "as it was before"
    );
    copier.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_parts_take_the_place_of_theirs_and_what_nobody_needs_goes() {
    let dir = TempDir::new().unwrap();
    let copies = dir.path().join("copies");
    let clock = Hands::at(BEGAN_MS + 24 * HOUR_MS);
    let mut head = engine(&dir.path().join("live"));
    fill(&mut head, 0..4);
    let copier = copying(&head, &copies, &clock, ("one", Span::ZERO));
    copier.until(|it| it.parts == 3).await;
    // The day is over: its parts become one.
    fill(&mut head, 24..26);
    let seen = copier.until(|it| it.parts == 2 && it.removed >= 3).await;
    assert_eq!(seen.samples, 10);
    until(|| files(&copies.join("parts")), |it| it.len() == 2).await;
    until(|| files(&copies.join("listings")), |it| it.len() == 1).await;
    let back = dir.path().join("back");
    restored(&copies, None, &back).await;
    let all: Vec<f64> = vec![0.0, 1.0, 2.0, 3.0, 24.0];
    assert_eq!(values(&engine(&back))[0], ("a".to_owned(), all));
    copier.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_made_of_copies_goes_on_with_them_and_uploads_nothing_twice() {
    let dir = TempDir::new().unwrap();
    let copies = dir.path().join("copies");
    let clock = Hands::at(BEGAN_MS + 3 * HOUR_MS);
    let mut head = engine(&dir.path().join("live"));
    fill(&mut head, 0..4);
    let copier = copying(&head, &copies, &clock, ("one", DAY));
    copier.until(|it| it.parts == 3).await;
    copier.end().await;
    // What an upload left behind whose process was killed.
    let draft = copies
        .join("parts")
        .join(format!("{}.part#1", "0".repeat(64)));
    fs::write(&draft, b"half of it").unwrap();
    let back = dir.path().join("back");
    restored(&copies, None, &back).await;
    let mut head = engine(&back);
    fill(&mut head, 4..6);
    let copier = copying(&head, &copies, &clock, ("one", DAY));
    let seen = copier.until(|it| it.parts == 4).await;
    assert_eq!((seen.uploaded_parts, seen.failing), (1, None));
    assert!(!draft.exists());
    copier.end().await;
    let copier = copying(&head, &copies, &clock, ("other", DAY));
    let seen = copier.until(|it| it.failing.is_some()).await;
    let why = seen.failing.unwrap();
    assert!(why.contains("another server's copies are there"), "{why}");
    copier.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_corrupt_is_named_and_the_rest_is_restored() {
    let dir = TempDir::new().unwrap();
    let copies = dir.path().join("copies");
    let clock = Hands::at(BEGAN_MS + 4 * HOUR_MS);
    let mut head = engine(&dir.path().join("live"));
    fill(&mut head, 0..5);
    let copier = copying(&head, &copies, &clock, ("one", DAY));
    copier.until(|it| it.parts == 4).await;
    copier.end().await;
    let objects = files(&copies.join("parts"));
    fs::remove_file(&objects[0]).unwrap();
    let mut bytes = fs::read(&objects[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&objects[1], bytes).unwrap();
    let back = dir.path().join("back");
    let report = restored(&copies, None, &back).await;
    assert_eq!(report.restored.parts, 2);
    let object = |at: usize| {
        objects[at]
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let mut whys: Vec<&str> = report.without.iter().map(|it| &*it.1).collect();
    whys.sort_by_key(|why| why.contains("digest"));
    assert!(
        whys[0].contains(&object(0)) && whys[0].contains("missing"),
        "{whys:?}"
    );
    assert!(
        whys[1].contains(&object(1)) && whys[1].contains("digest"),
        "{whys:?}"
    );
    assert_eq!(values(&engine(&back))[0].1.len(), 2);
    let disk = LocalDisk::open(&back).unwrap();
    let again = restore(&place(&copies), None, &disk, &mut |_| {}).await;
    assert!(
        again
            .unwrap_err()
            .to_string()
            .contains("already: name one that holds nothing")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_holds_nothing_back_and_gets_everything_later() {
    let dir = TempDir::new().unwrap();
    let copies = dir.path().join("copies");
    fs::write(&copies, b"no folder").unwrap();
    let clock = Hands::at(BEGAN_MS + 3 * HOUR_MS);
    let mut head = engine(&dir.path().join("live"));
    fill(&mut head, 0..2);
    let copier = copying(&head, &copies, &clock, ("one", DAY));
    let seen = copier.until(|it| it.failures >= 2).await;
    assert!(
        seen.failing.is_some() && seen.waiting_since.is_some(),
        "{seen:?}"
    );
    assert_eq!(seen.waiting_parts, 1);
    // Each of these is answered once it is sealed.
    fill(&mut head, 2..4);
    fs::remove_file(&copies).unwrap();
    let seen = copier.until(|it| it.parts == 3).await;
    assert_eq!(seen.failing, None);
    copier.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_part_is_named_and_not_copied_and_others_are() {
    let dir = TempDir::new().unwrap();
    let (live, copies) = (dir.path().join("live"), dir.path().join("copies"));
    let clock = Hands::at(BEGAN_MS + 3 * HOUR_MS);
    let mut head = engine(&live);
    fill(&mut head, 0..4);
    let tsdb = head.tsdb();
    let sealed = tsdb.sealed(Tiers::default());
    let name = sealed.parts()[1].name().to_owned();
    let mut bytes = fs::read(live.join(&name)).unwrap();
    bytes[12] ^= 1;
    // The engine holds the file open: it is written where it is, as a disk would change it. Snapshots share it.
    fs::write(live.join(&name), bytes).unwrap();
    let copier = copying(&head, &copies, &clock, ("one", DAY));
    let seen = copier.until(|it| it.parts == 2).await;
    assert_eq!(seen.damaged, [name]);
    assert_eq!((seen.waiting_parts, seen.failing), (1, None));
    copier.end().await;
}
