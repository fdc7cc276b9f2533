//! What test runners said, added up.

use std::fmt;
use std::ops::AddAssign;

/// How many tests passed, failed and were skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

impl Count {
    /// Tests that returned early because a peer is missing pass in the runner's eyes, but showed nothing.
    pub(crate) fn with_skips(mut self, skips: u64) -> Self {
        let moved = skips.min(self.passed);
        self.passed -= moved;
        self.skipped += moved;
        self
    }

    /// Adds up the `test result:` lines of libtest.
    pub(crate) fn of_libtest(output: &str) -> Self {
        let mut count = Self::default();
        for line in output
            .lines()
            .filter_map(|line| line.trim().strip_prefix("test result: "))
        {
            let number = |what: &str| {
                let words: Vec<&str> = line.split([' ', ';']).filter(|word| !word.is_empty()).collect();
                let pair = words.windows(2).find(|pair| pair.get(1) == Some(&what));
                pair.and_then(|pair| pair.first()?.parse().ok()).unwrap_or(0)
            };
            count += Self {
                passed: number("passed"),
                failed: number("failed"),
                skipped: number("ignored"),
            };
        }
        count
    }

    /// Reads the totals of a JUnit report.
    pub(crate) fn of_junit(report: &str) -> Option<Self> {
        let root = report.split("<testsuites").nth(1)?.split('>').next()?;
        let number = |name: &str| -> Option<u64> {
            root.split(&format!(" {name}=\""))
                .nth(1)?
                .split('"')
                .next()?
                .parse()
                .ok()
        };
        let (all, failures) = (number("tests")?, number("failures")?);
        let failed = failures + number("errors").unwrap_or(0);
        // Skipped tests are left out of the report by nextest.
        Some(Self {
            passed: all.saturating_sub(failed),
            failed,
            skipped: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_libtest_add_up() {
        let output = "running 3 tests\n\
            test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            noise\n\
            test result: FAILED. 10 passed; 2 failed; 1 ignored; 0 measured; 5 filtered out; finished in 1.00s\n";
        assert_eq!(
            Count::of_libtest(output),
            Count {
                passed: 13,
                failed: 2,
                skipped: 1
            }
        );
        assert_eq!(Count::of_libtest("nothing"), Count::default());
    }

    #[test]
    fn junit_totals_are_read() {
        let report = "<?xml version=\"1.0\"?>\n<testsuites name=\"nextest-run\" tests=\"12\" failures=\"2\" errors=\"1\" \
            uuid=\"x\">\n<testsuite name=\"a\" tests=\"12\">";
        assert_eq!(
            Count::of_junit(report),
            Some(Count {
                passed: 9,
                failed: 3,
                skipped: 0
            })
        );
        assert_eq!(Count::of_junit("<nothing>"), None);
    }

    #[test]
    fn a_test_that_skipped_itself_has_not_passed() {
        let count = Count {
            passed: 5,
            failed: 1,
            skipped: 0,
        }
        .with_skips(2);
        assert_eq!(count.to_string(), "3 passed, 1 failed, 2 skipped");
    }
}
