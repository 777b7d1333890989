//! The example site: real processes that can really be overloaded, and really lie about it.
//!
//! Guarantees: one executable is the release builder (`build`), every service instance (an artifact
//! made by `build`, started without arguments) and the load generator (`load`). Everything listens
//! and calls on loopback only, and every random choice follows from a seed.
//!
//! Never: knows which scenario it plays in, or changes its behaviour because someone is watching.
//!
//! ```text
//! mainstay-site build --service feed --version 1.4.2 --out releases --defect errors=0.2,route=home
//! PORT=7001 INSTANCE=feed-1 FABRIC=east releases/feed/1.4.2/run
//! mainstay-site load --target http://127.0.0.1:7001 --rate 50 --duration 30 --routes /feed/home=1
//! ```

mod artifact;
mod cli;
mod defect;
mod instance;
mod load;
mod loopback;
mod random;

fn main() -> std::process::ExitCode {
    cli::run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        std::process::ExitCode::FAILURE
    })
}
