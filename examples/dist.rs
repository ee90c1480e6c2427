//! Puts a program with all that belongs to it into a tar: `dist PROGRAM OUT`. `just dist` calls it.

// The path of the tar is what it is called for.
#![allow(clippy::print_stdout)]

use clap::CommandFactory;
use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(program), Some(out)) = (words.next(), words.next()) else { return Err("dist PROGRAM OUT".into()) };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let name = format!("unmute-{}-{}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH, std::env::consts::OS);
    let out = std::path::absolute(out)?;
    let place = out.join(&name);
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    std::fs::create_dir_all(place.join("bin"))?;
    std::fs::copy(&program, place.join("bin/unmute"))?;
    manual(&place.join("share/man/man1"))?;
    completions(&place.join("share/completions"))?;
    for what in ["experiments", "docs/guide"] {
        copy(&root.join(what), &place.join(what))?;
    }
    for what in ["LICENSE", "README.md", "CHANGELOG.md", "docs/schema.md", "docs/store.md", "docs/python.md"] {
        std::fs::copy(root.join(what), place.join(what))?;
    }
    licences(root, &place.join("licences"))?;
    let archive = out.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&out);
    // The same files in the same order; a tar without these flags packs as it likes.
    if Command::new("tar").arg("--version").output().is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("GNU")) {
        tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    }
    if !tar.arg("-czf").arg(&archive).arg(&name).status()?.success() {
        return Err("tar failed".into());
    }
    println!("{}", archive.display());
    Ok(())
}

/// A page for the program and one for each verb.
fn manual(to: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(to)?;
    clap_mangen::generate_to(unmute::cli::Cli::command(), to)?;
    Ok(())
}

fn completions(to: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(to)?;
    let mut command = unmute::cli::Cli::command();
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "unmute", to)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(std::fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}

/// The licence of every package that is linked in: a list, and the texts that the packages bring.
fn licences(root: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(to)?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}|{l}"]).current_dir(root);
    let tree = tree.output()?;
    if !tree.status.success() {
        return Err(String::from_utf8_lossy(&tree.stderr).into_owned().into());
    }
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    let sources: Vec<PathBuf> =
        std::fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten().map(|e| e.path()).collect();
    let mut list = BTreeSet::new();
    for line in String::from_utf8_lossy(&tree.stdout).lines() {
        let Some((package, licence)) = line.split_once('|') else { continue };
        let mut words = package.split_whitespace();
        let (Some(name), Some(version)) = (words.next(), words.next()) else { continue };
        if name.starts_with("unmute") {
            continue;
        }
        let folder = format!("{name}-{}", version.trim_start_matches('v'));
        list.insert(format!("{folder}: {}\n", licence.trim_end_matches(" (*)")));
        for source in &sources {
            for entry in std::fs::read_dir(source.join(&folder)).into_iter().flatten().flatten() {
                let file = entry.file_name().to_string_lossy().to_uppercase();
                let tells =
                    ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"].iter().any(|n| file.starts_with(n));
                if tells && entry.path().is_file() {
                    std::fs::create_dir_all(to.join(&folder))?;
                    std::fs::copy(entry.path(), to.join(&folder).join(entry.file_name()))?;
                }
            }
        }
    }
    std::fs::write(to.join("LIST"), list.into_iter().collect::<String>())?;
    Ok(())
}
