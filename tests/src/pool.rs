//! Programs in the kernel that are used again: a test takes one that another is done with, and starts it over.

use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use xdplb_prog::model::Tables;
use xdplb_prog::world::Settings;

use crate::program::OnKernel;

/// Those that nobody uses.
static IDLE: Mutex<Vec<OnKernel>> = Mutex::new(Vec::new());
/// How many of them are kept.
const MOST: usize = 16;

/// One in use; dropped, it is another's.
#[derive(Debug)]
pub struct Pooled(Option<OnKernel>);

impl Pooled {
    /// One with these settings, and nothing but these tables.
    pub fn new(settings: &Settings, tables: &Tables) -> Result<Self> {
        let idle = {
            let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = |program: &OnKernel| {
                program.settings() == settings && program.has_room(tables).unwrap_or(false)
            };
            idle.iter().position(fits).map(|place| idle.remove(place))
        };
        let program = match idle {
            Some(program) => {
                program.start_over(tables)?;
                program
            }
            None => OnKernel::load(settings, tables)?,
        };
        Ok(Self(Some(program)))
    }
}

impl Deref for Pooled {
    type Target = OnKernel;
    fn deref(&self) -> &OnKernel {
        match &self.0 {
            Some(program) => program,
            None => unreachable!("only dropping takes it"),
        }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        idle.extend(self.0.take());
        if idle.len() > MOST {
            idle.remove(0);
        }
    }
}
