//! Two things that are measured in turns, in short rounds. The ratio is the median of the rounds' ratios, so a machine
//! that is busy with other things slows both alike; a harness that measures one after the other would compare
//! two different moments.
//!
//! One JSON object a figure goes to stdout, as `cargo xtask bench` writes them.

use std::time::Instant;

/// How often each pair is measured.
const N_ROUNDS: usize = 1001;

/// Seconds that each of the two took in each round.
pub(crate) struct Pair(Vec<(f64, f64)>);

/// Measures two in turns.
pub(crate) fn compare<T>(
    mut prepare: impl FnMut() -> T,
    mut through: impl FnMut(&T),
    mut direct: impl FnMut(&T),
) -> Pair {
    let time = |work: &mut dyn FnMut(&T), input: &T| {
        let start = Instant::now();
        work(input);
        start.elapsed().as_secs_f64()
    };
    // Who comes first changes, since the first one warms caches for the other. The first rounds are
    // not counted.
    let rounds = (0..N_ROUNDS + 2).map(|round| {
        let input = prepare();
        if round % 2 == 0 {
            let through = time(&mut through, &input);
            (through, time(&mut direct, &input))
        } else {
            let direct = time(&mut direct, &input);
            (time(&mut through, &input), direct)
        }
    });
    Pair(rounds.skip(2).collect())
}

impl Pair {
    /// Prints the figure. `value` makes it from the seconds of a round; the ratio is that of the
    /// values.
    pub(crate) fn report(&self, name: &str, unit: &str, peer: &str, value: impl Fn(f64) -> f64) {
        let median = |of: &dyn Fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = self.0.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let through = median(&|(through, _)| value(*through));
        let direct = median(&|(_, direct)| value(*direct));
        let ratio = median(&|(through, direct)| value(*through) / value(*direct));
        println!(
            r#"{{"event":"figure","name":"{name}","value":{through:.3},"unit":"{unit}","peer":"{peer}","peer_value":{direct:.3},"ratio":{ratio:.3}}}"#
        );
    }
}
