//! Rust source as far as the rules of the house need it: which file refers to which by `use` and by path. A reader of
//! tokens, not a compiler: macros are not expanded, and methods are found by the types that bring them along.

use super::tokens::{Token, blocks, declared, paths, tokens, uses, without_tests, without_uses};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A module's name from its package on: `["unmute", "store", "read"]`.
type ModulePath = Vec<String>;

/// One file's reference to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    pub from: String,
    pub to: String,
    pub line: usize,
    /// The path as far as it is written out, `unmute::store::Store`.
    pub path: String,
    /// Whether code of the file needs it; a `pub use` that only hands a name on does not count.
    pub code: bool,
}

/// The files of a source tree and what they hold.
pub struct Tree {
    files: BTreeMap<String, File>,
    /// The file of every module, also of those within a file.
    modules: BTreeMap<ModulePath, String>,
    /// What is declared in, and what is brought into, every module.
    scopes: BTreeMap<ModulePath, Scope>,
}

struct File {
    tokens: Vec<Token>,
    module: ModulePath,
}

#[derive(Default)]
struct Scope {
    declared: BTreeSet<String>,
    imports: BTreeMap<String, ModulePath>,
    globs: Vec<ModulePath>,
}

impl Tree {
    /// Reads `src/` and `crates/*/src` below a folder.
    pub fn read(root: &Path) -> Tree {
        fn walk(dir: &Path, root: &Path, found: &mut Vec<(String, String)>) {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    walk(&path, root, found);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
                    found.push((name, std::fs::read_to_string(&path).unwrap()));
                }
            }
        }
        let mut found = Vec::new();
        walk(&root.join("src"), root, &mut found);
        for package in std::fs::read_dir(root.join("crates")).into_iter().flatten().flatten() {
            walk(&package.path().join("src"), root, &mut found);
        }
        Tree::new(found)
    }

    /// A tree of these paths and texts.
    pub fn new(sources: impl IntoIterator<Item = (String, String)>) -> Tree {
        let mut tree = Tree { files: BTreeMap::new(), modules: BTreeMap::new(), scopes: BTreeMap::new() };
        for (path, text) in sources {
            // A build script is a program of its own.
            if let Some(module) = module_of(&path).filter(|_| !path.ends_with("/build.rs")) {
                tree.modules.insert(module.clone(), path.clone());
                tree.files.insert(path, File { tokens: without_tests(tokens(&text)), module });
            }
        }
        for (path, file) in &tree.files {
            for (module, tokens) in blocks(&file.module, &file.tokens) {
                tree.modules.entry(module.clone()).or_insert_with(|| path.clone());
                tree.scopes.entry(module).or_default().declared.extend(declared(tokens));
            }
        }
        let mut imports = Vec::new();
        for file in tree.files.values() {
            for (module, tokens) in blocks(&file.module, &file.tokens) {
                for import in uses(tokens) {
                    if let Some(path) = tree.absolute(&module, &import.path) {
                        imports.push((module.clone(), import, path));
                    }
                }
            }
        }
        for (module, import, path) in imports {
            let scope = tree.scopes.entry(module).or_default();
            match import.name {
                Some(name) => drop(scope.imports.insert(name, path)),
                None if import.glob => scope.globs.push(path),
                None => {}
            }
        }
        tree
    }

    /// The paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Whether a file's code, tests aside, has these tokens in a row, such as `std :: fs`.
    pub fn mentions(&self, file: &str, words: &str) -> bool {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.files[file].tokens.windows(words.len()).any(|w| w.iter().zip(&words).all(|(t, word)| t.text == *word))
    }

    /// How many tokens a file has, tests aside.
    pub fn length(&self, file: &str) -> usize {
        self.files[file].tokens.len()
    }

    /// Every reference from one file to another, each pair of files once for each line.
    pub fn references(&self) -> Vec<Reference> {
        let mut all = BTreeSet::new();
        for (file, source) in &self.files {
            for (module, tokens) in blocks(&source.module, &source.tokens) {
                self.references_of(file, &module, tokens, &mut all);
            }
        }
        all.into_iter().collect()
    }

    fn references_of(&self, file: &str, module: &ModulePath, tokens: &[Token], all: &mut BTreeSet<Reference>) {
        let mut add = |path: &ModulePath, line: usize, code: bool| {
            if let Some((to, is_module)) = self.resolve(path, 0)
                && to != file
            {
                let (to, path) = (to.to_string(), path.join("::"));
                all.insert(Reference { from: file.into(), to, line, path, code: code && !is_module });
            }
        };
        let code = without_uses(tokens);
        let used: BTreeSet<&str> = code.iter().map(|t| t.text.as_str()).collect();
        for import in uses(tokens) {
            if let Some(path) = self.absolute(module, &import.path) {
                let needed = !import.public || import.name.as_ref().is_some_and(|n| used.contains(n.as_str()));
                add(&path, import.line, needed);
            }
        }
        for (path, line) in paths(&code) {
            if let Some(path) = self.absolute(module, &path) {
                add(&path, line, true);
            }
        }
    }

    /// A path as written in a module, from its package on; nothing for paths to other packages and for local names.
    fn absolute(&self, module: &ModulePath, written: &[String]) -> Option<ModulePath> {
        let first = written.first()?.as_str();
        let child = || {
            let mut path = module.clone();
            path.push(first.to_string());
            self.modules.contains_key(&path).then_some(path)
        };
        let mut rest = &written[1..];
        let mut path = match first {
            "crate" => module[..1].to_vec(),
            "self" => module.clone(),
            "super" => {
                let mut up = module[..module.len().checked_sub(1)?].to_vec();
                while rest.first().is_some_and(|s| s == "super") {
                    up.pop();
                    rest = &rest[1..];
                }
                up
            }
            _ => match child() {
                Some(path) => path,
                None => match self.scopes.get(module).and_then(|s| s.imports.get(first)) {
                    Some(path) => path.clone(),
                    None if self.modules.contains_key(&vec![first.to_string()]) => vec![first.to_string()],
                    None => return None,
                },
            },
        };
        path.extend(rest.iter().cloned());
        (path.len() > 1 || written.len() > 1).then_some(path)
    }

    /// The file that declares what a path names, through re-exports; and whether the path names a module.
    fn resolve(&self, path: &[String], depth: usize) -> Option<(&str, bool)> {
        let mut at: ModulePath = path.first().map(|p| vec![p.clone()])?;
        let mut file = self.modules.get(&at)?;
        for (i, name) in path.iter().enumerate().skip(1) {
            at.push(name.clone());
            if let Some(deeper) = self.modules.get(&at) {
                file = deeper;
                continue;
            }
            at.pop();
            let scope = self.scopes.get(&at)?;
            if depth > 16 || scope.declared.contains(name) {
                return Some((file, false));
            }
            if let Some(target) = scope.imports.get(name) {
                let target = [target, &path[i + 1..]].concat();
                return self.resolve(&target, depth + 1).or(Some((file, false)));
            }
            for glob in &scope.globs {
                let declared_there = self.scopes.get(glob).is_some_and(|s| s.declared.contains(name));
                if declared_there || self.modules.contains_key(&[glob, &[name.clone()][..]].concat()) {
                    return self.resolve(&[glob, &path[i..]].concat(), depth + 1);
                }
            }
            return Some((file, false));
        }
        Some((file, true))
    }
}

/// Groups of files that refer to one another in a circle, each group sorted.
pub fn circles(references: &[Reference]) -> Vec<Vec<String>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for r in references.iter().filter(|r| r.code) {
        next.entry(&r.from).or_default().insert(&r.to);
    }
    let reach = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = next.get(from).into_iter().flatten().copied().collect();
        while let Some(file) = open.pop() {
            if seen.insert(file.to_string()) {
                open.extend(next.get(file).into_iter().flatten());
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<String>> = next.keys().map(|f| (*f, reach(f))).collect();
    let mut groups = BTreeSet::new();
    for (file, seen) in reached.iter().filter(|(file, seen)| seen.contains(**file)) {
        let both = seen.iter().filter(|o| reached.get(o.as_str()).is_some_and(|s| s.contains(*file)));
        groups.insert(both.cloned().collect::<Vec<_>>());
    }
    groups.into_iter().collect()
}

/// `src/store/read.rs` is `unmute::store::read`, `crates/compute/src/svm/mod.rs` is `compute::svm`.
fn module_of(path: &str) -> Option<ModulePath> {
    let (package, rest) = match path.strip_prefix("src/") {
        Some("main.rs") => return Some(vec!["main".into()]),
        Some(rest) => ("unmute", rest),
        None => {
            let (package, rest) = path.strip_prefix("crates/")?.split_once('/')?;
            (package, rest.strip_prefix("src/")?)
        }
    };
    let mut module = vec![package.to_string()];
    module.extend(rest.trim_end_matches(".rs").split('/').map(String::from));
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    Some(module)
}
