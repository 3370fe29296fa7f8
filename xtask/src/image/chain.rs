//! What an image stands on: its recipe and lock and those of all images below, each in agreement with the
//! next.

use super::lock::{Lock, LockError};
use super::recipe::{self, Recipe};
use super::tools::{self, PACKAGES, is_composed, packages, parts};
use super::{ImageError, Images, Locked};

impl Images {
    /// The image's recipe and lock and those of the images below, lowest first.
    pub(super) fn chain(&self, image: &str) -> Result<Vec<Locked>, ImageError> {
        let mut chain: Vec<Locked> = Vec::new();
        for name in self.below_first(image)? {
            let locked = self.agreed(&name)?;
            locked.lock.check_below(self.ground(&locked.recipe, &chain)?.as_ref())?;
            chain.push(locked);
        }
        tools::check(image, &chain)?;
        Ok(chain)
    }

    /// The names of an image and of those below it, lowest first.
    fn line(&self, image: &str) -> Result<Vec<String>, ImageError> {
        let mut names = vec![image.to_owned()];
        let mut at = image.to_owned();
        while let Some(below) = self.recipe(&at)?.0.from {
            if tools::is_composed(&below) {
                names.reverse();
                return Ok([self.below_first(&below)?, names].concat());
            }
            let cycle = names.contains(&below);
            names.push(below.clone());
            if cycle {
                let (image, chain) = (image.to_owned(), names.join(" -> "));
                return Err(recipe::RecipeError::Cycle { image, chain }.into());
            }
            at = below;
        }
        names.reverse();
        Ok(names)
    }

    /// The recipe and the lock of an image, in agreement with each other.
    pub(super) fn agreed(&self, image: &str) -> Result<Locked, ImageError> {
        let (recipe, digest) = self.recipe(image)?;
        let lock = match (self.read_lock(image), packages(image)) {
            (Err(LockError::Missing { path, .. }), Some(named)) => {
                return Err(named.not_locked(path));
            }
            (lock, _) => lock?,
        };
        match packages(image) {
            _ if lock.recipe == digest => Ok(Locked { recipe, lock }),
            Some(named) => Err(named.not_locked(Lock::path(&self.workspace, PACKAGES))),
            None => Err(LockError::RecipeChanged { image: image.to_owned() }.into()),
        }
    }

    /// The lock of what `recipe` stands on, of those in `chain`, where the images below come first.
    pub(super) fn ground(
        &self,
        recipe: &Recipe,
        chain: &[Locked],
    ) -> Result<Option<Lock>, ImageError> {
        let Some(below) = &recipe.from else { return Ok(None) };
        let names = self.below_first(below)?;
        let is_below = |locked: &&Locked| names.contains(&locked.lock.image);
        let chain: Vec<&Locked> = chain.iter().filter(is_below).collect();
        if is_composed(below) {
            return Ok(Some(tools::lock(below, &chain)));
        }
        Ok(chain.last().map(|locked| locked.lock.clone()))
    }

    /// The names of the images whose own layers make up `image`, each after those that it stands on.
    pub(super) fn below_first(&self, image: &str) -> Result<Vec<String>, ImageError> {
        let mut names: Vec<String> = Vec::new();
        for part in parts(image) {
            for name in self.line(&part)? {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }
}
