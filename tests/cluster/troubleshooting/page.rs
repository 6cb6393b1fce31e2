//! The tables of the page.

use landbridge_test_node::Ended;

const PAGE: &str = include_str!("../../../docs/how-to/troubleshooting.md");

/// One row: what is seen, why, where to look, what to do.
#[derive(Debug, Clone)]
pub struct Row {
    pub id: String,
    shown: String,
    look: String,
    remedy: String,
}

/// All of them.
pub fn rows() -> Vec<Row> {
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
        inner.split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| match <[String; 5]>::try_from(cells(line)) {
        Ok([id, shown, _, look, remedy]) => Row {
            id: id.trim_matches('`').to_owned(),
            shown,
            look,
            remedy,
        },
        Err(cells) => panic!("a row of {} cells: {line}", cells.len()),
    })
    .collect()
}

/// The one with this id.
pub fn row(id: &str) -> Row {
    let mut rows = rows().into_iter();
    rows.find(|row| row.id == id)
        .unwrap_or_else(|| panic!("the page has no row {id}"))
}

/// What is between backticks, in order.
fn spans(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

impl Row {
    /// The text number `number` that the row says is seen.
    pub fn text(&self, number: usize) -> &str {
        let texts = spans(&self.shown);
        texts
            .get(number)
            .unwrap_or_else(|| panic!("{}: no text {number} in: {}", self.id, self.shown))
    }

    /// Whether that text is in `said`; `...` stands for anything.
    pub fn found(&self, number: usize, said: &str) -> Result<(), String> {
        let mut rest = said;
        for piece in self.text(number).split("...").map(str::trim) {
            match rest.find(piece) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return Err(format!("{}: no '{}' in: {said}", self.id, self.text(number))),
            }
        }
        Ok(())
    }

    /// That it is.
    #[track_caller]
    pub fn is_in(&self, number: usize, said: &str) {
        if let Err(reason) = self.found(number, said) {
            panic!("{reason}");
        }
    }

    /// The status of the answer: the one number of the row outside of its texts.
    pub fn status(&self) -> String {
        let prose: String = self.shown.split('`').step_by(2).collect();
        let mut words = prose.split(|letter: char| !letter.is_ascii_digit());
        let status = words.find(|word| word.len() == 3);
        let status = status.unwrap_or_else(|| panic!("{}: no status in: {}", self.id, self.shown));
        format!("HTTP/1.1 {status} ")
    }

    /// The command with which to see the cause, about other names than the page's.
    pub fn look(&self, names: &[(&str, &str)]) -> String {
        command(&self.id, &self.look, names)
    }

    /// The command that is the remedy.
    pub fn remedy(&self, names: &[(&str, &str)]) -> String {
        command(&self.id, &self.remedy, names)
    }

    /// That the remedy names this value or property.
    #[track_caller]
    pub fn advises(&self, what: &str) {
        let named = spans(&self.remedy).iter().any(|span| span.contains(what));
        assert!(
            named,
            "{}: the remedy does not name {what}: {}",
            self.id, self.remedy
        );
    }
}

fn command(id: &str, cell: &str, names: &[(&str, &str)]) -> String {
    let programs = ["kubectl ", "helm ", "landbridge ", "openssl "];
    let found = spans(cell)
        .into_iter()
        .find(|span| programs.iter().any(|program| span.starts_with(program)));
    let mut command = found
        .unwrap_or_else(|| panic!("{id}: no command in: {cell}"))
        .to_owned();
    for (theirs, ours) in names {
        assert!(command.contains(theirs), "{id}: no {theirs} in: {command}");
        command = command.replace(theirs, ours);
    }
    command
}

/// Everything that a command has said.
pub fn said(ended: &Ended) -> String {
    format!("{}{}", ended.stdout, ended.stderr)
}
