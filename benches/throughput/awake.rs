//! Keeps the processors from falling asleep.

use std::process::{Child, Command, Stdio};
use std::thread;

/// One loop of the lowest priority for each processor.
///
/// A client and a server who take turns leave both processors idle for microseconds at a time. On a virtual machine a
/// processor that idles is given back, and waking it costs more than the work: what is measured then is the hypervisor.
/// The loops take what nobody else wants.
pub(crate) struct Awake(Vec<Child>);

impl Awake {
    pub(crate) fn all_processors() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let busy = |_| Command::new("nice").args(["-n", "19", "sh", "-c", BUSY]).stdin(Stdio::piped()).spawn().ok();
        Self((0..processors).filter_map(busy).collect())
    }
}

/// It ends with whoever started it, also where that is killed.
const BUSY: &str = "while kill -0 $PPID 2>/dev/null; do i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; done";

impl Drop for Awake {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
