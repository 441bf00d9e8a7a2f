//! Parts of a run for several machines.

use std::env;

use burn_seqlora::Shard;

/// What schedulers tell the tasks of an array, counted from the first task's number.
const TASKS: [Variables; 2] = [
    Variables {
        number: "SLURM_ARRAY_TASK_ID",
        first: Some("SLURM_ARRAY_TASK_MIN"),
        count: Some("SLURM_ARRAY_TASK_COUNT"),
    },
    // Kubernetes does not tell how many tasks a job has.
    Variables { number: "JOB_COMPLETION_INDEX", first: None, count: None },
];

struct Variables {
    number: &'static str,
    first: Option<&'static str>,
    count: Option<&'static str>,
}

/// Parses `I/N`, `auto` or `auto/N`.
pub fn parse_shard(text: &str) -> Result<Shard, String> {
    parse_with(text, |name| env::var(name).ok())
}

fn parse_with(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
    let wrong = || format!("`{text}` is no part like 2/8, `auto` or `auto/8`");
    let parse = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
    let (number, count) = match text.split_once('/') {
        None if text == "auto" => (None, None),
        None => return Err(wrong()),
        Some(("auto", count)) => (None, Some(parse(count)?)),
        Some((number, count)) => (Some(parse(number)?), Some(parse(count)?)),
    };
    let shard = match (number, count) {
        (Some(number), Some(count)) => {
            Shard { number: number.checked_sub(1).ok_or_else(wrong)?, count }
        }
        (_, count) => of_task(count, variable)?,
    };
    match shard.number < shard.count {
        true => Ok(shard),
        false => Err(wrong()),
    }
}

/// The part of the task that this program runs in.
fn of_task(
    count: Option<usize>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Shard, String> {
    let number = |name: &str| -> Result<usize, String> {
        let text = variable(name).ok_or_else(|| format!("`auto`: {name} is not set"))?;
        text.trim().parse().map_err(|_| format!("`auto`: {name} is `{}`", text.escape_debug()))
    };
    let Some(task) = TASKS.iter().find(|task| variable(task.number).is_some()) else {
        let [slurm, kubernetes] = TASKS.map(|task| task.number);
        return Err(format!(
            "`auto` takes the part from {slurm} or {kubernetes}, and neither is set"
        ));
    };
    let first = task.first.map_or(Ok(0), &number)?;
    let count = match (count, task.count) {
        (Some(count), _) => count,
        (None, Some(name)) => number(name)?,
        (None, None) => {
            return Err(format!(
                "`auto`: {} does not tell how many parts there are; write `auto/N`",
                task.number
            ));
        }
    };
    let number = number(task.number)?.checked_sub(first);
    let number = number
        .filter(|number| *number < count)
        .ok_or_else(|| format!("`auto`: {} is none of {count} parts", task.number))?;
    Ok(Shard { number, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Shard, String> {
        parse_with(text, |_| None)
    }

    #[test]
    fn parts_are_counted_from_one() {
        let shard = parse("2/3").unwrap();
        assert_eq!((0..7).filter(|n| shard.has(*n)).collect::<Vec<_>>(), [1, 4]);
        for wrong in ["0/3", "4/3", "1", "1/0", "a/b", "-1/2", "auto/x", "auto/"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn schedulers_tell_the_part() {
        let with = |text: &str, variables: &[(&str, &str)]| {
            parse_with(text, |name| {
                variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string())
            })
        };
        let slurm = [
            ("SLURM_ARRAY_TASK_ID", "5"),
            ("SLURM_ARRAY_TASK_MIN", "4"),
            ("SLURM_ARRAY_TASK_COUNT", "3"),
        ];
        assert_eq!(with("auto", &slurm), Ok(Shard { number: 1, count: 3 }));
        let kubernetes = [("JOB_COMPLETION_INDEX", "0")];
        assert_eq!(with("auto/4", &kubernetes), Ok(Shard { number: 0, count: 4 }));
        assert!(with("auto", &kubernetes).unwrap_err().contains("auto/N"));
        assert!(with("auto/4", &[("JOB_COMPLETION_INDEX", "4")]).is_err());
        assert!(with("auto", &[("SLURM_ARRAY_TASK_ID", "x")]).is_err());
        assert!(with("auto", &[]).unwrap_err().contains("SLURM_ARRAY_TASK_ID"));
    }
}
