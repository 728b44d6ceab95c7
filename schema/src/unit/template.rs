//! Templates and their instances: `web@` is submitted once, `web@1` and `web@2` are made from it.
//!
//! In a template's values, whatever they say, these stand for parts of the instance's name:
//!
//! | specifier | in `web@1` | meaning |
//! |---|---|---|
//! | `%n` | `web@1` | the whole name |
//! | `%N` | `web@1` | the name without a suffix, which Ferrite's names do not have |
//! | `%p` | `web` | what is before `@` |
//! | `%i` | `1` | what is after it |
//! | `%%` | `%` | itself |

use toml::Value;

use super::bad_value::BadValue;
use super::definition::Unit;

/// Separates a template's name from its instance's.
const SEPARATOR: char = '@';

/// This is the name of a template.
#[must_use]
pub fn is_template(name: &str) -> bool {
    name.ends_with(SEPARATOR)
}

/// The template that a unit of this name is made from, `web@` for `web@1`.
#[must_use]
pub fn template_of(name: &str) -> Option<String> {
    let (prefix, instance) = name.split_once(SEPARATOR)?;
    (!instance.is_empty()).then(|| format!("{prefix}{SEPARATOR}"))
}

/// A template as an instance called `name` has it, otherwise unchecked.
pub(super) fn expanded(template: &Unit, name: &str) -> Result<Unit, BadValue> {
    let odd = |why: String| BadValue::at(&["name"], why);
    let mut value = Value::try_from(template).map_err(|error| odd(error.to_string()))?;
    let names = Names::of(name);
    expand_all(&mut value, &names, &mut Vec::new())?;
    let mut unit: Unit =
        value.try_into().map_err(|error: toml::de::Error| odd(error.to_string()))?;
    unit.name = name.to_owned();
    Ok(unit)
}

struct Names<'a> {
    whole: &'a str,
    prefix: &'a str,
    instance: &'a str,
}

impl<'a> Names<'a> {
    fn of(name: &'a str) -> Self {
        let (prefix, instance) = name.split_once(SEPARATOR).unwrap_or((name, ""));
        Self { whole: name, prefix, instance }
    }

    fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                out.push(character);
                continue;
            }
            match characters.next() {
                Some('n' | 'N') => out.push_str(self.whole),
                Some('p') => out.push_str(self.prefix),
                Some('i') => out.push_str(self.instance),
                Some('%') => out.push('%'),
                Some(other) => {
                    return Err(format!(
                        "`%{other}` is no specifier; a template knows %n, %N, %p and %i, and `%%` stands for a percent sign"
                    ));
                }
                None => return Err("write `%%` for a percent sign in a template".to_owned()),
            }
        }
        Ok(out)
    }
}

fn expand_all(
    value: &mut Value,
    names: &Names<'_>,
    path: &mut Vec<String>,
) -> Result<(), BadValue> {
    match value {
        Value::String(text) => {
            *text = names.expand(text).map_err(|why| BadValue::of_path(path.clone(), why))?;
        }
        Value::Array(values) => {
            for (index, value) in values.iter_mut().enumerate() {
                path.push(index.to_string());
                expand_all(value, names, path)?;
                path.pop();
            }
        }
        Value::Table(values) => {
            for (key, value) in values.iter_mut() {
                path.push(key.to_string());
                expand_all(value, names, path)?;
                path.pop();
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::instance;
    use super::*;

    fn template(more: &str) -> Unit {
        super::super::parse(&format!("name = \"web@\"\nimage = \"nginx:%i\"\n{more}")).unwrap()
    }

    #[test]
    fn names() {
        assert!(is_template("web@") && !is_template("web") && !is_template("web@1"));
        assert_eq!(template_of("web@1").as_deref(), Some("web@"));
        assert_eq!(template_of("web@"), None);
        assert_eq!(template_of("web"), None);
    }

    #[test]
    fn specifiers_stand_for_the_instance_everywhere() {
        let unit = instance(
            &template(
                "command = [\"%p\", \"100%%\"]\nhostname = \"%p-%i\"\nafter = [\"db@%i\"]\n\
                 env = { NAME = \"%n\", N = \"%N\" }\nlabels = { shard = \"%i\" }\n\
                 volumes = [{ name = \"data-%i\", target = \"/data/%i\" }]",
            ),
            "web@7",
        )
        .unwrap();
        assert_eq!(unit.name, "web@7");
        assert_eq!(unit.image, "nginx:7");
        assert_eq!(unit.command, Some(vec!["web".into(), "100%".into()]));
        assert_eq!(unit.hostname.as_deref(), Some("web-7"));
        assert_eq!(unit.after, ["db@7"]);
        assert_eq!((unit.env["NAME"].as_str(), unit.env["N"].as_str()), ("web@7", "web@7"));
        assert_eq!(unit.labels["shard"], "7");
        assert_eq!(unit.volumes[0].name.as_deref(), Some("data-7"));
    }

    #[test]
    fn an_unknown_specifier_is_shown_where_it_stands() {
        let text = "name = \"web@\"\nimage = \"a\"\ncommand = [\"date\", \"+%s\"]\n";
        let problem = super::super::parse(text).unwrap_err();
        assert_eq!((problem.line, problem.column), (3, 20));
        assert!(problem.message.contains("`%s` is no specifier"), "{problem}");
        // Outside of templates a percent sign is one.
        super::super::parse(&text.replace("web@", "web")).unwrap();
    }
}
