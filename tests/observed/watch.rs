//! Who listens: a recorder of metrics and a subscriber of spans and events, for one thread or for the process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock};

use metrics::Label;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber, subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::table::Sighting;

/// A span or an event, with the text of its fields.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) is_span: bool,
    pub(crate) level: Level,
    pub(crate) target: &'static str,
    pub(crate) fields: BTreeMap<&'static str, String>,
    /// The verb of the span around it.
    pub(crate) within: Option<String>,
}

impl Report {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl Visit for Report {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    reports: Vec<Report>,
    /// By their numbers, spans that are open or were.
    verbs: BTreeMap<u64, String>,
}

impl Listener {
    fn hear(&self, report: Report) {
        self.0.lock().unwrap().reports.push(report);
    }
}

impl<S: Subscriber> Layer<S> for Listener {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let metadata = attributes.metadata();
        let mut report = Report {
            is_span: true,
            level: *metadata.level(),
            target: metadata.target(),
            fields: BTreeMap::new(),
            within: None,
        };
        attributes.record(&mut report);
        self.0.lock().unwrap().verbs.insert(id.into_u64(), report.field("verb").to_owned());
        self.hear(report);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let span = context.current_span().id().map(Id::into_u64);
        let within = span.and_then(|id| self.0.lock().unwrap().verbs.get(&id).cloned());
        let mut report = Report {
            is_span: false,
            level: *metadata.level(),
            target: metadata.target(),
            fields: BTreeMap::new(),
            within,
        };
        event.record(&mut report);
        self.hear(report);
    }
}

/// Metrics and reports of what ran under it.
#[derive(Clone)]
pub(crate) struct Watch {
    recorder: Arc<DebuggingRecorder>,
    listener: Listener,
}

impl Watch {
    pub(crate) fn new() -> Self {
        // A thread that nobody watches would tell `tracing` that nobody ever listens there.
        Self::of_the_process();
        Self { recorder: Arc::default(), listener: Listener::default() }
    }

    /// The one that watches every thread which no other one watches.
    pub(crate) fn of_the_process() -> &'static Self {
        static OF_THE_PROCESS: OnceLock<Watch> = OnceLock::new();
        OF_THE_PROCESS.get_or_init(|| {
            let watch = Self { recorder: Arc::default(), listener: Listener::default() };
            let subscriber = tracing_subscriber::registry().with(watch.listener.clone());
            subscriber::set_global_default(subscriber).expect("nobody else does so");
            metrics::set_global_recorder(Arc::clone(&watch.recorder)).expect("nobody else does so");
            watch
        })
    }

    /// Runs `work` on this thread, watched.
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let subscriber = tracing_subscriber::registry().with(self.listener.clone());
        metrics::with_local_recorder(&*self.recorder, || subscriber::with_default(subscriber, work))
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        self.listener.0.lock().unwrap().reports.clone()
    }

    pub(crate) fn events(&self) -> Vec<Report> {
        self.reports().into_iter().filter(|report| !report.is_span).collect()
    }

    /// What was recorded, once: reading empties it.
    pub(crate) fn recorded(&self) -> Recorded {
        Recorded(read(&self.recorder.snapshotter()))
    }
}

fn read(snapshotter: &Snapshotter) -> Vec<Series> {
    let series = snapshotter.snapshot().into_vec().into_iter().map(|(key, _, text, value)| {
        let labels = key.key().labels().map(|label: &Label| (label.key().to_owned(), label.value().to_owned()));
        Series { name: key.key().name().to_owned(), labels: labels.collect(), is_described: text.is_some(), value }
    });
    series.collect()
}

/// A metric with values of its labels.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) is_described: bool,
    pub(crate) value: DebugValue,
}

impl Series {
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            DebugValue::Counter(_) => "counter",
            DebugValue::Gauge(_) => "gauge",
            DebugValue::Histogram(_) => "histogram",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Recorded(pub(crate) Vec<Series>);

impl Recorded {
    /// Which outcomes of which verbs were counted.
    pub(crate) fn sightings(&self) -> BTreeSet<Sighting> {
        let calls = self.0.iter().filter(|series| series.name == "refresh_tokens_calls_total");
        calls
            .map(|Series { labels, .. }| (labels["verb"].clone(), labels["outcome"].clone(), labels["class"].clone()))
            .collect()
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<&DebugValue> {
        let is_it = |series: &&Series| {
            series.name == name
                && labels.iter().all(|(key, value)| series.labels.get(*key).is_some_and(|is| is == value))
        };
        let mut found = self.0.iter().filter(is_it);
        let value = found.next().map(|series| &series.value);
        assert!(found.next().is_none(), "the labels leave one series of {name}");
        value
    }

    pub(crate) fn counter(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        match self.value(name, labels) {
            Some(DebugValue::Counter(count)) => *count,
            None => 0,
            other => panic!("{name} is {other:?}"),
        }
    }

    pub(crate) fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        match self.value(name, labels) {
            Some(DebugValue::Gauge(value)) => value.into_inner(),
            other => panic!("{name} is {other:?}"),
        }
    }

    pub(crate) fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        match self.value(name, labels) {
            Some(DebugValue::Histogram(values)) => values.iter().map(|value| value.into_inner()).collect(),
            None => Vec::new(),
            other => panic!("{name} is {other:?}"),
        }
    }
}
