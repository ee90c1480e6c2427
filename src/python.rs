//! The active Python environment, whose packages bring libraries that this program can use too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Variables that name the environment's folder: `venv`'s, and Conda's.
pub const ENVIRONMENTS: [&str; 2] = ["VIRTUAL_ENV", "CONDA_PREFIX"];

/// The folders of installed packages of an environment, `lib/python3.12/site-packages`, the newest Python first.
pub fn site_packages(environment: &Path) -> Vec<PathBuf> {
    let versions = std::fs::read_dir(environment.join("lib")).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> =
        versions.map(|version| version.path().join("site-packages")).filter(|folder| folder.is_dir()).collect();
    folders.sort_by_key(|folder| std::cmp::Reverse(minor(folder)));
    folders
}

/// The folders of installed packages of the `python3` on the PATH, as it names them; none where there is no such program.
pub fn packages_of_python3() -> Vec<PathBuf> {
    let ask = "import sys; print('\\n'.join(p for p in sys.path if p.endswith('-packages')))";
    let output = Command::new("python3").args(["-c", ask]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let said = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    said.lines().map(PathBuf::from).collect()
}

/// 12 of `lib/python3.12/site-packages`.
fn minor(site_packages: &Path) -> Option<u32> {
    let version = site_packages.parent()?.file_name()?.to_str()?;
    version.rsplit('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_python_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["python3.9", "python3.12", "python3.10", "nothing"] {
            std::fs::create_dir_all(dir.path().join("lib").join(version)).unwrap();
        }
        for version in ["python3.9", "python3.12", "python3.10"] {
            std::fs::create_dir(dir.path().join("lib").join(version).join("site-packages")).unwrap();
        }
        let found = site_packages(dir.path());
        let want = [12, 10, 9].map(|minor| dir.path().join(format!("lib/python3.{minor}/site-packages")));
        assert_eq!(found, want);
        assert!(site_packages(&dir.path().join("none")).is_empty());
    }
}
