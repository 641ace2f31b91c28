//! Room on the disk: a slot's block and its offer take megabytes there, and what can not be written is not
//! offered.

use super::Core;
use std::sync::atomic::Ordering;

impl Core {
    /// Looks whether there is room left; where not, nothing more is promised until there is.
    pub fn look_at_disk(&self) {
        let free = rustix::fs::statvfs(&self.dir).map(|d| d.f_bavail.saturating_mul(d.f_frsize) >> 20);
        let low = self.config.min_free_mib > 0 && free.map_or(true, |mib| mib < self.config.min_free_mib);
        if self.disk_low.swap(low, Ordering::SeqCst) == low {
            return;
        }
        self.served_cache.forget_open();
        let (dir, least) = (self.dir.display(), self.config.min_free_mib);
        if low {
            let free = free.map_or_else(|e| e.to_string(), |mib| format!("{mib} MiB"));
            self.critical(None, "disk-low", format!("{dir}: {free} free, below blocks.min_free_mib = {least}"));
        } else {
            tracing::info!("{dir} has room again");
        }
    }
}
