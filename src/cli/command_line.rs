//! The command line as it is recorded with a run: as it would be typed in a shell, without secrets.

/// Names of options whose values are nobody's business.
const SECRET: [&str; 9] = ["key", "token", "secret", "password", "passwd", "passphrase", "credential", "auth", "pwd"];

/// What stands in place of a secret.
const MASKED: &str = "***";

/// The arguments in one line; values of options such as `--api-key` are masked, and so are passwords in URLs.
pub(super) fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let mut hide_next = false;
    let shown = arguments.map(|argument| {
        if std::mem::replace(&mut hide_next, false) && !argument.starts_with("--") {
            return MASKED.to_string();
        }
        let name = argument.split('=').next().unwrap_or_default();
        if is_secret(name) {
            match argument.contains('=') {
                true => return quoted(&format!("{name}={MASKED}")),
                false => hide_next = name.starts_with('-'),
            }
        }
        quoted(&without_password(&argument))
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// Whether a name, of an option or of a key, is that of a secret: one of its words is.
fn is_secret(name: &str) -> bool {
    let lower = name.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.any(|word| {
        SECRET.iter().any(|secret| word == *secret || word == format!("{secret}s") || word == format!("api{secret}"))
    })
}

/// `https://user:password@host` without the password.
fn without_password(argument: &str) -> String {
    let Some((scheme, rest)) = argument.split_once("://") else { return argument.into() };
    let host = rest.split('/').next().unwrap_or_default();
    match host.rsplit_once('@').and_then(|(user, _)| user.split_once(':').map(|(name, _)| (user, name))) {
        Some((user, name)) => format!("{scheme}://{name}:{MASKED}{}", &rest[user.len()..]),
        None => argument.into(),
    }
}

/// An argument as it would be typed in a shell.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./=:,+@%*".contains(c);
    match !argument.is_empty() && argument.chars().all(plain) {
        true => argument.into(),
        false => format!("'{}'", argument.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_the_rest_is_as_it_was_typed() {
        let line = |arguments: &[&str]| command_line(arguments.iter().map(|a| a.to_string()));
        assert_eq!(
            line(&["unmute", "run", "a b", "--set", "grid.audio=[vggish]", "--seeds", "0,1"]),
            "unmute run 'a b' --set 'grid.audio=[vggish]' --seeds 0,1"
        );
        assert_eq!(line(&["x", "--api-key", "s3cret", "--db", "r.db"]), "x --api-key *** --db r.db");
        assert_eq!(
            line(&["x", "--token=s3cret", "--set", "hub.api_key=s3cret"]),
            "x --token=*** --set hub.api_key=***"
        );
        assert_eq!(line(&["x", "--apikey", "a", "--AUTH-TOKEN", "b"]), "x --apikey *** --AUTH-TOKEN ***");
        assert_eq!(line(&["--password", "--json"]), "--password --json");
        assert_eq!(line(&["https://me:s3cret@host/x?y"]), "'https://me:***@host/x?y'");
        assert_eq!(line(&["--set", "train.keyframes=3", "--monkey", "1"]), "--set train.keyframes=3 --monkey 1");
    }
}
