//! What the process says on standard error: to people, to journald, or to a machine.

use crate::config::{Log, LogFormat};
use std::fmt;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Sends the log to standard error.
///
/// # Errors
/// A filter that does not parse.
pub fn log_to_stderr(log: &Log) -> Result<(), ParseError> {
    let filter = match EnvFilter::try_from_default_env() {
        Ok(filter) => filter,
        Err(_unset) => EnvFilter::try_new(&log.filter)?,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let is_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    match log.format {
        LogFormat::Auto if is_journal => lines.event_format(Journal).init(),
        LogFormat::Auto | LogFormat::Text => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

/// Lines with their priority in front, as `sd-daemon(3)` has it; journald knows the time itself.
struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        // Every line with its own: nothing that is said can look like a line of somebody else.
        for line in text.lines() {
            let (level, target) = (*event.metadata().level(), event.metadata().target());
            writeln!(writer, "<{}>{target}: {line}", priority(level))?;
        }
        Ok(())
    }
}

/// As `syslog(3)` numbers them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_has_its_priority() {
        let said = Said::default();
        let writer = said.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(Journal)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(port = "west", "two\n<0>lines");
            tracing::info!("one");
        });
        let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 3, "{said}");
        assert!(lines[0].starts_with("<4>control_daemon") && lines[0].ends_with("two"), "{said}");
        assert!(lines[1].starts_with("<4>") && lines[1].contains("port"), "{said}");
        assert!(lines[2].starts_with("<6>") && lines[2].ends_with("one"), "{said}");
    }
}
