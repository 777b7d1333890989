//! Reads the configuration of a Prometheus, with the files of jobs that it names.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
pub(super) use mainstay_ekg::prometheus::File;
use mainstay_ekg::prometheus::FileError;

/// The file, its relative paths beginning at its own folder, with the jobs of the files that it names.
pub(super) fn read(path: &Path) -> anyhow::Result<File> {
    let environment = |name: &str| std::env::var(name).ok();
    let mut file = File::parse(&text(path)?, &environment).map_err(|error| placed(path, &error))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for pattern in std::mem::take(&mut file.job_files) {
        for path in found(&folder.join(pattern))? {
            let jobs = file
                .more(&text(&path)?)
                .map_err(|error| placed(&path, &error))?;
            file.jobs.extend(jobs);
        }
    }
    for job in &mut file.jobs {
        job.begin_at(folder);
    }
    for receiver in &mut file.receivers {
        receiver.begin_at(folder);
    }
    for pattern in &mut file.rule_files {
        *pattern = folder.join(&pattern);
    }
    Ok(file)
}

fn found(pattern: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let text = pattern.to_string_lossy();
    let paths = glob::glob(&text).with_context(|| format!("`{text}` is no pattern of files"))?;
    let mut paths: Vec<PathBuf> = paths
        .collect::<Result<_, _>>()
        .with_context(|| format!("`{text}` cannot be listed"))?;
    paths.sort();
    Ok(paths)
}

fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What is wrong, after the file that it is in.
fn placed(path: &Path, error: &FileError) -> anyhow::Error {
    let path = path.display();
    match error {
        FileError::Field { .. } => anyhow!("{path}:{error}"),
        _ => anyhow!("{path}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mainstay_core::Span;
    use mainstay_ekg::job::Job;

    use crate::config::Config;

    #[test]
    fn a_prometheus_file_is_taken_with_what_it_names_and_what_is_said_here_stands() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("prom")).unwrap();
        let jobs = "scrape_configs: [{job_name: JOB, file_sd_configs: [{files: ['t.yml']}]}]\n";
        let own = "global: {evaluation_interval: 30s, external_labels: {dc: lax, replica: a}}
rule_files: [r.yml]
scrape_config_files: [more/*.yml]
tracing: {}
alerting: {alertmanagers: [{static_configs: [{targets: ['a:9093']}]}]}
";
        fs::write(
            at("prom/prometheus.yml"),
            own.to_owned() + &jobs.replace("JOB", "one"),
        )
        .unwrap();
        fs::create_dir(at("prom/more")).unwrap();
        fs::write(at("prom/more/a.yml"), jobs.replace("JOB", "two")).unwrap();
        let config = "[scrape]\nprometheus_config = \"prom/prometheus.yml\"\n\
                      [alerting.external_labels]\nreplica = \"mine\"\n";
        fs::write(at("mainstay.toml"), config).unwrap();
        let config = Config::read(&at("mainstay.toml")).unwrap();
        let names: Vec<&str> = config.scrape.jobs().iter().map(Job::name).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(config.scrape.jobs()[0].files()[0].files, [at("prom/t.yml")]);
        assert_eq!(config.rules.files, [at("prom/r.yml")]);
        assert_eq!(config.rules.evaluation_interval, Some(Span::from_secs(30)));
        let labels = &config.alerting.external_labels;
        assert_eq!((&*labels["dc"], &*labels["replica"]), ("lax", "mine"));
        assert_eq!(
            config.alerting.alertmanagers[0].0.as_str(),
            "http://a:9093/"
        );
        assert_eq!(config.otherwise.len(), 1);

        fs::write(at("prom/more/b.yml"), jobs.replace("JOB", "one")).unwrap();
        let error = Config::read(&at("mainstay.toml")).unwrap_err().to_string();
        assert!(error.contains("two scrape jobs are named `one`"), "{error}");
        fs::write(at("prom/more/b.yml"), "\nscrape_config: []\n").unwrap();
        let error = Config::read(&at("mainstay.toml")).unwrap_err().to_string();
        assert!(error.contains("more/b.yml:2:"), "{error}");
    }
}
