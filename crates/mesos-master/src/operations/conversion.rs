//! What an operation takes and what it makes of it.

use model::{DiskInfo, DiskKind, Resource, ResourceOperation, ResourceValue, Resources};

/// The disk that a volume was made of.
pub(crate) fn without_volume(volume: &Resource) -> Resource {
    let source = volume.disk_source().cloned();
    let disk =
        source.map(|source| Box::new(DiskInfo { source: Some(source), persistence: None, volume: None }));
    Resource { disk, shared: 0, ..volume.clone() }
}

fn of_size(resource: &Resource, milli: i64) -> Resource {
    let quantity = model::Quantity::from_milli(milli);
    Resource { value: ResourceValue::Scalar(quantity), ..resource.clone() }
}

fn of_kind(resource: &Resource, kind: DiskKind, profile: Option<&String>) -> Result<Resource, String> {
    let mut converted = resource.clone();
    let Some(source) = converted.disk.as_mut().and_then(|disk| disk.source.as_mut()) else {
        return Err("'source' is not a disk resource".to_owned());
    };
    source.kind = kind;
    if let Some(profile) = profile {
        source.profile = Some(profile.clone());
    }
    Ok(converted)
}

/// What is consumed, and what it is converted to.
pub(crate) fn of(operation: &ResourceOperation) -> Result<(Resources, Resources), String> {
    let one = |resource: Resource| Resources::from_iter([resource]);
    Ok(match operation {
        ResourceOperation::Reserve { source, resources } => {
            let consumed = if source.is_empty() {
                resources.iter().cloned().map(Resource::unreserved_once).collect()
            } else {
                source.clone()
            };
            (consumed, resources.clone())
        }
        ResourceOperation::Unreserve { resources } => {
            (resources.clone(), resources.iter().cloned().map(Resource::unreserved_once).collect())
        }
        ResourceOperation::Create { volumes } => {
            (volumes.iter().map(without_volume).collect(), volumes.clone())
        }
        ResourceOperation::Destroy { volumes } => {
            (volumes.clone(), volumes.iter().map(without_volume).collect())
        }
        ResourceOperation::GrowVolume { volume, addition } => {
            let size = volume.quantity().saturating_add(addition.quantity());
            let consumed = Resources::from_iter([volume.clone(), addition.clone()]);
            (consumed, one(of_size(volume, size.milli())))
        }
        ResourceOperation::ShrinkVolume { volume, subtract } => {
            let rest = volume.quantity().saturating_sub(*subtract);
            let freed = of_size(&without_volume(volume), subtract.milli());
            (one(volume.clone()), Resources::from_iter([of_size(volume, rest.milli()), freed]))
        }
        ResourceOperation::CreateDisk { source, target, profile } => {
            (one(source.clone()), one(of_kind(source, *target, profile.as_ref())?))
        }
        ResourceOperation::DestroyDisk { source } => {
            (one(source.clone()), one(of_kind(source, DiskKind::Raw, None)?))
        }
    })
}
