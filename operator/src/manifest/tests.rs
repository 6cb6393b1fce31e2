use super::*;

const GOOD: &str = "apiVersion: destination.connectivity.api.sap/v1\nkind: Destination\nmetadata:\n  name: erp\nspec:\n  \
                    destinationRef:\n    name: erp-prod\n";

fn problems(file: &str, text: &str) -> Vec<String> {
    parse(file, text.as_bytes())
        .problems
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn named(name: &str) -> String {
    GOOD.replace("name: erp\n", &format!("name: {name}\n"))
}

#[test]
fn documents_of_one_file_are_read_and_other_kinds_are_passed_over() {
    let text = format!(
        "# a comment\n---\n{GOOD}---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n---\n---\n# nothing\n--- \n\
         {}...\n",
        named("crm").replace("  name: crm", "  name: crm\n  namespace: sales")
    );
    let parsed = parse("a.yaml", text.as_bytes());
    assert_eq!(parsed.problems, []);
    let keys: Vec<_> = parsed
        .destinations
        .iter()
        .map(|one| (one.key.to_string(), one.line))
        .collect();
    assert_eq!(
        keys,
        [("default/erp".to_owned(), 3), ("sales/crm".to_owned(), 19)]
    );
    assert_eq!(
        parsed.destinations[0].resource.spec.destination_ref.name,
        "erp-prod"
    );
    assert_eq!(
        parsed.skipped,
        [Skipped {
            file: "a.yaml".into(),
            line: 11,
            kind: "v1 ConfigMap".into()
        }]
    );
}

#[test]
fn lists_are_flattened_and_mistakes_in_them_have_their_place() {
    let text = "apiVersion: v1\nkind: List\nitems:\n\
                - apiVersion: destination.connectivity.api.sap/v1\n  kind: Destination\n  metadata: {name: a}\n  \
                spec: {destinationRef: {name: x}}\n\
                - apiVersion: destination.connectivity.api.sap/v1\n  kind: Destination\n  metadata: {name: b}\n  \
                spec:\n    destinationRef: {name: x}\n    service:\n      port: 99999\n";
    let parsed = parse("l.yaml", text.as_bytes());
    assert_eq!(parsed.destinations.len(), 1);
    assert_eq!(
        problems("l.yaml", text),
        ["l.yaml:14: items[1].spec.service.port: 99999 is not in 1..=65535"]
    );
}

#[test]
fn json_files_are_read() {
    let text = "{\n\t\"apiVersion\": \"destination.connectivity.api.sap/v1\",\n\t\"kind\": \"Destination\",\n\
                \t\"metadata\": {\"name\": \"erp\"},\n\t\"spec\": {\"destinationRef\": {\"name\": \"x\"}}\n}";
    assert_eq!(parse("a.json", text.as_bytes()).destinations.len(), 1);
    let wrong = text.replace("\t", " ").replace("{\"name\": \"x\"}", "{}");
    assert_eq!(
        problems("a.json", &wrong),
        ["a.json:5: spec.destinationRef.name: is required and missing: add it"]
    );
    let broken = problems("a.json", "{\n\"kind\": }");
    assert!(
        broken[0].starts_with("a.json:2: is not well-formed JSON: "),
        "{broken:?}"
    );
}

#[test]
fn every_mistake_has_file_line_and_field() {
    let cases: Vec<(String, &[&str])> = vec![
        (
            "just text\n".into(),
            &["m.yaml:1: is no resource: apiVersion, kind, metadata, spec"],
        ),
        (
            "\nkind: Destination\n".into(),
            &["m.yaml:2: apiVersion: is required and missing: is this a manifest?"],
        ),
        (
            GOOD.replace("kind: Destination", "kind: destination"),
            &["m.yaml:2: kind: \"destination\" is not known here: a Destination has the kind Destination"],
        ),
        (
            GOOD.replace(".sap/v1", ".sap/v2"),
            &[
                "m.yaml:1: apiVersion: \"destination.connectivity.api.sap/v2\" is not known here: a Destination has the apiVersion destination.connectivity.api.sap/v1",
            ],
        ),
        (
            GOOD.replace("    name: erp-prod\n", "    name: ''\n    levl: x\n"),
            &[
                "m.yaml:7: spec.destinationRef.name: must not be empty",
                "m.yaml:8: spec.destinationRef.levl: unknown field: known here are level, name",
            ],
        ),
        (
            GOOD.replace("  name: erp\n", "  name: Erp\n"),
            &[
                "m.yaml:4: metadata.name: \"Erp\" cannot be a name: use at most 253 lower-case letters, digits, '-' and \
               '.', with a letter or digit at both ends of every part",
            ],
        ),
        (
            format!("{GOOD}  fragmentRef:\n    level: instance\n"),
            &[
                "m.yaml:8: spec.fragmentRef: level is the level of a named fragment: set name as well, or remove level",
            ],
        ),
        (
            GOOD.replace("spec:", "spec: #")
                .replace("  destinationRef", "destinationRef")
                .replace("    name: erp-prod", "  name: erp-prod"),
            &[
                "m.yaml:5: spec: is required and missing: add spec.destinationRef.name",
                "m.yaml:6: destinationRef: unknown field: belongs below spec, is the indentation right?",
            ],
        ),
        (
            "apiVersion: v1\nkind: List\n".into(),
            &["m.yaml:1: items: a list must have items"],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(problems("m.yaml", &text), expected, "{text}");
    }
}

#[test]
fn a_document_that_is_not_yaml_hides_no_other() {
    for broken in [
        "a: [1, 2\n",
        "a: b: c\n",
        "a: {b\n",
        "a: 1\na: 2\n",
        "x: \"open\n",
        "a: *unknown\n",
    ] {
        let parsed = parse(
            "m.yaml",
            format!("{}---\n{broken}---\n{}", named("one"), named("two")).as_bytes(),
        );
        let keys: Vec<_> = parsed
            .destinations
            .iter()
            .map(|one| one.key.name.as_str())
            .collect();
        assert_eq!(keys, ["one", "two"], "{broken:?}");
        assert_eq!(parsed.problems.len(), 1, "{broken:?}: {:?}", parsed.problems);
        let problem = &parsed.problems[0];
        assert!(
            problem.line.is_some_and(|line| (8..=11).contains(&line)),
            "{broken:?}: {problem}"
        );
        assert!(
            problem.message.starts_with("is not well-formed YAML: "),
            "{problem}"
        );
        assert!(
            !problem.message.contains("line "),
            "the line of the document, not of the file: {problem}"
        );
    }
}

#[test]
fn bytes_that_are_no_text_and_hostile_documents_are_refused() {
    assert_eq!(
        parse("m.yaml", b"a: 1\nb: \xff\n").problems[0].to_string(),
        "m.yaml:2: is not UTF-8 text: save the file in UTF-8"
    );
    let deep = format!("a: {}{}\n", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(parse("m.yaml", deep.as_bytes()).problems.len(), 1);
    let mut laughs = String::from("a0: &a0 [x, x]\n");
    for level in 1..40 {
        laughs += &format!("a{level}: &a{level} [*a{}, *a{}]\n", level - 1, level - 1);
    }
    assert_eq!(parse("m.yaml", laughs.as_bytes()).problems.len(), 1);
}

#[test]
fn a_name_declared_twice_names_both_places_and_the_first_stays() {
    let a = parse("a.yaml", named("erp").replace("erp-prod", "first").as_bytes());
    let b = parse(
        "b.yaml",
        format!("{}---\n{}", named("crm"), named("erp")).as_bytes(),
    );
    let set = ManifestSet::merge(&ManifestSet::default(), [&a, &b]);
    assert_eq!(set.destinations.len(), 2);
    assert_eq!(
        set.destinations[&RouteKey::new("default", "erp")]
            .resource
            .spec
            .destination_ref
            .name,
        "first"
    );
    assert_eq!(
        set.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "b.yaml:9: metadata.name: default/erp is declared at a.yaml:1 and again at b.yaml:9; the first one is used: \
          remove or rename one"
        ]
    );
}

#[test]
fn generations_count_changes_of_the_specification_only() {
    let generation = |set: &ManifestSet| {
        set.destinations[&RouteKey::new("default", "erp")]
            .resource
            .metadata
            .generation
    };
    let first = ManifestSet::merge(&ManifestSet::default(), [&parse("a.yaml", GOOD.as_bytes())]);
    let labelled = GOOD.replace("  name: erp\n", "  name: erp\n  labels: {a: b}\n");
    let second = ManifestSet::merge(&first, [&parse("a.yaml", labelled.as_bytes())]);
    let changed = GOOD.replace("erp-prod", "erp-test");
    let third = ManifestSet::merge(&second, [&parse("a.yaml", changed.as_bytes())]);
    assert_eq!(
        [generation(&first), generation(&second), generation(&third)],
        [Some(1), Some(1), Some(2)]
    );
}

#[test]
fn lists_of_mistakes_are_bounded() {
    let file = Parsed {
        problems: (0..1_005)
            .map(|line| ManifestProblem {
                file: "a.yaml".into(),
                line: Some(line),
                field: String::new(),
                message: "x".into(),
            })
            .collect(),
        ..Parsed::default()
    };
    let set = ManifestSet::merge(&ManifestSet::default(), [&file]);
    assert_eq!(set.problems.len(), 1_001);
    assert!(
        set.problems[1_000].message.starts_with("5 more mistakes"),
        "{}",
        set.problems[1_000]
    );
}
