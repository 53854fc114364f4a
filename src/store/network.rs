//! How long a network that has died is waited for: libpq's parameters, added to the host's URL.

use std::time::Duration;

/// The same URL with bounds, where it does not set them itself: of two parameters of a name, libpq takes the latter.
///
/// The kernel asks an idle peer after half the wait, and then so often that the answer is missed twice; `tcp_user_timeout`
/// bounds what has been sent and is not acknowledged. A Unix socket ignores all of them but `connect_timeout`.
pub(super) fn bounded(url: &str, wait: Duration) -> String {
    let seconds = wait.as_secs().max(1);
    let (idle, interval) = ((seconds / 2).max(1), (seconds / 4).max(1));
    let parameters = [
        format!("connect_timeout={}", seconds.min(i32::MAX.unsigned_abs().into())),
        format!("keepalives_idle={}", idle.min(MOST_SECONDS)),
        format!("keepalives_interval={}", interval.min(MOST_SECONDS)),
        "keepalives_count=2".to_owned(),
        format!("tcp_user_timeout={}", super::milliseconds(wait)),
    ];
    let Some(at) = parameters_of(url) else {
        return format!("{} {url}", parameters.join(" "));
    };
    let (before, own) = url.split_at(at);
    match own.strip_prefix('?') {
        Some("") | None => format!("{before}?{}", parameters.join("&")),
        Some(own) => format!("{before}?{}&{own}", parameters.join("&")),
    }
}

/// Linux takes no more.
const MOST_SECONDS: u64 = 32_767;

/// Where the parameters of a URI begin, with their question mark, or would; none for a list of `name=value`.
///
/// As libpq reads it: a question mark before the first `@` or `/` belongs to the password.
fn parameters_of(url: &str) -> Option<usize> {
    let after_scheme = ["postgresql://", "postgres://"].iter().find(|scheme| url.starts_with(**scheme))?.len();
    let rest = &url[after_scheme..];
    let host = rest.find(['@', '/']).filter(|at| rest.as_bytes()[*at] == b'@').map_or(0, |at| at + 1);
    Some(rest[host..].find('?').map_or(url.len(), |at| after_scheme + host + at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDED: &str =
        "connect_timeout=10&keepalives_idle=5&keepalives_interval=2&keepalives_count=2&tcp_user_timeout=10000";

    #[test]
    fn what_the_host_sets_comes_later_and_so_wins() {
        let wait = Duration::from_secs(10);
        for (url, before, after) in [
            ("postgresql://", "postgresql://?", ""),
            ("postgres://host", "postgres://host?", ""),
            ("postgres://host/db?", "postgres://host/db?", ""),
            ("postgres://host?connect_timeout=3", "postgres://host?", "&connect_timeout=3"),
            ("postgres://u:p?q@host:1,h2/db?a=b?c", "postgres://u:p?q@host:1,h2/db?", "&a=b?c"),
            ("postgresql:///db?user=u@x&host=/tmp", "postgresql:///db?", "&user=u@x&host=/tmp"),
        ] {
            assert_eq!(bounded(url, wait), format!("{before}{ADDED}{after}"), "{url}");
        }
        let list = bounded("host=/tmp password='a ? b'", wait);
        assert_eq!(list, format!("{} host=/tmp password='a ? b'", ADDED.replace('&', " ")));
    }

    #[test]
    fn no_wait_is_out_of_the_parameters_range() {
        assert!(bounded("", Duration::ZERO).starts_with("connect_timeout=1 keepalives_idle=1 keepalives_interval=1 "));
        let longest = bounded("", Duration::MAX);
        assert!(longest.contains("connect_timeout=2147483647 keepalives_idle=32767"), "{longest}");
    }
}
