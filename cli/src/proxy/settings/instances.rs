//! The destination service instances that are named.

use std::path::PathBuf;

use landbridge_runtime::problems::Problems;

use super::Instance;
use crate::proxy::args::ProxyArgs;
use crate::proxy::bindings;

pub(super) fn instances(args: &ProxyArgs, problems: &mut Problems) -> Vec<Instance> {
    const FLAG: &str = "--destination-service";
    let mut instances: Vec<Instance> = Vec::new();
    for text in &args.destination_service {
        let Some((name, file)) = text
            .split_once('=')
            .filter(|(name, file)| !name.is_empty() && !file.is_empty())
        else {
            problems.add(FLAG, format_args!("\"{text}\" is no NAME=FILE; write it so"));
            continue;
        };
        if instances.iter().any(|known| known.name == name) {
            problems.add(
                FLAG,
                format_args!("{name} is given twice; give each instance a name of its own"),
            );
            continue;
        }
        let file = PathBuf::from(file);
        if let Some((binding, digest)) = problems.take(FLAG, bindings::read(&file)) {
            instances.push(Instance {
                name: name.to_owned(),
                file,
                binding,
                digest,
            });
        }
    }
    if args.destination_service.is_empty() {
        problems.add(
            FLAG,
            "is missing; name at least one instance and the file of its service key, as in default=/etc/landbridge/key.json",
        );
    }
    instances
}

pub(super) fn default_instance(args: &ProxyArgs, instances: &[Instance], problems: &mut Problems) -> String {
    let Some(name) = &args.default_instance else {
        return instances
            .first()
            .map(|first| first.name.clone())
            .unwrap_or_default();
    };
    let named = |text: &String| text.split_once('=').is_some_and(|(known, _)| known == name);
    if !args.destination_service.iter().any(named) {
        problems.add(
            "--default-instance",
            format_args!("{name} is none of --destination-service; name one of those"),
        );
    }
    name.clone()
}
