//! `claims.yaml`: what the paper concludes from its tables.

use super::document::Problem;
use super::layers::Layers;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// `C6`.
    pub id: String,
    /// In words of ours.
    pub claim: String,
}

/// The contents of `claims.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The claims.
    pub claims: Vec<Claim>,
}

impl Claims {
    /// Reads and checks a `claims.yaml`: ids are unique.
    pub fn read(layers: &Layers) -> Result<Claims, Problem> {
        let claims: Claims = layers.read()?;
        for (i, claim) in claims.claims.iter().enumerate() {
            if claims.claims[..i].iter().any(|c| c.id == claim.id) {
                return Err(layers.at(&format!("claims[{i}].id"), format!("{} stands twice", claim.id)));
            }
        }
        Ok(claims)
    }
}
