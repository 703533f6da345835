//! The options of a build: lines of `key=value`.

use kiln_frontend::{BuildInfo, Options, Settings};

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let pairs = text.lines().map(|line| line.split_once('=').unwrap_or((line, "")));
    let options: Options = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    options.platforms().ok();
    options.multi_platform().ok();
    options.resolve_mode().ok();
    options.source_date_epoch().ok();
    options.no_cache();
    if let Ok(settings) = Settings::read(&BuildInfo::default().with_options(options.clone())) {
        assert!(settings.targets().len() == settings.target_platforms.len().max(1));
    }
    assert!(options.labels().count() + options.build_args().count() <= options.0.len());
}
