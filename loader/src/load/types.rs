//! The object's types (BTF) in the kernel: as they are, simplified, or left out.

use std::os::fd::{AsFd, AsRawFd};

use super::{LoadError, Observer, Step};
use crate::kernel::{self, Btf, Feature, KernelError};
use crate::object::{BtfKinds, Plan, simplify};

/// The object's types in the kernel.
pub(super) enum Types {
    /// The object has none.
    None,
    /// They are there.
    Loaded(Btf),
    /// This kernel does not take them.
    LeftOut(String),
}

impl Types {
    pub(super) fn btf(&self) -> Option<&Btf> {
        match self {
            Types::Loaded(btf) => Some(btf),
            Types::None | Types::LeftOut(_) => None,
        }
    }

    /// Without its types an object can fail in ways that only the missing types explain.
    pub(super) fn explain(&self, error: LoadError) -> LoadError {
        match self {
            Types::LeftOut(reason) => {
                error.noting(&[format!("the object's types were left out: {reason}")])
            }
            Types::None | Types::Loaded(_) => error,
        }
    }
}

/// Loads BTF as it is; where the kernel refuses, again without the kinds that it doesn't know; else goes on without.
pub(super) fn load(plan: &Plan, observer: &mut dyn Observer) -> Result<Types, LoadError> {
    let Some(btf) = &plan.btf else {
        return Ok(Types::None);
    };
    match fitting(btf, observer) {
        Ok(btf) => {
            let info = btf.info()?;
            observer.step(&Step::BtfLoaded {
                id: info.id,
                fd: btf.as_fd().as_raw_fd(),
                bytes: info.size,
            });
            Ok(Types::Loaded(btf))
        }
        Err(error @ KernelError::Permission { .. }) => Err(error.into()),
        Err(error) => {
            let reason = error.to_string();
            observer.step(&Step::BtfLeftOut { reason: &reason });
            Ok(Types::LeftOut(reason))
        }
    }
}

/// The types as this kernel takes them. Mostly that is as they are; what else is wrong is mostly what no kernel takes, and
/// then nothing needs to be asked about this one.
fn fitting(btf: &xdplb_linker::btf::Btf, observer: &mut dyn Observer) -> Result<Btf, KernelError> {
    if let Some(loaded) = Btf::try_load(&btf.encode())? {
        return Ok(loaded);
    }
    let (repaired, how) = simplify(btf, &BtfKinds::ALL);
    if !how.is_empty()
        && let Some(loaded) = Btf::try_load(&repaired.encode())?
    {
        observer.step(&Step::BtfSimplified { kinds: &how });
        return Ok(loaded);
    }
    let (simple, how) = simplify(btf, &known_kinds(observer));
    if !how.is_empty() {
        observer.step(&Step::BtfSimplified { kinds: &how });
    }
    Btf::load(&simple.encode())
}

fn known_kinds(observer: &mut dyn Observer) -> BtfKinds {
    kinds(|feature| {
        let supported = kernel::supports(feature);
        observer.step(&Step::Probed { feature, supported });
        supported
    })
}

/// The kinds of types that a kernel knows which answers so.
pub(super) fn kinds(mut supports: impl FnMut(Feature) -> bool) -> BtfKinds {
    let mut ask = |feature| supports(feature).into();
    BtfKinds {
        func: ask(Feature::BtfFunc),
        func_global: ask(Feature::BtfFuncGlobal),
        datasec: ask(Feature::BtfDatasec),
        float: ask(Feature::BtfFloat),
        decl_tag: ask(Feature::BtfDeclTag),
        type_tag: ask(Feature::BtfTypeTag),
        enum64: ask(Feature::BtfEnum64),
        attributes: ask(Feature::BtfAttributes),
        section_names: ask(Feature::BtfSectionNames),
    }
}
