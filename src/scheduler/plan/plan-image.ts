import { isDigestReference, isImageId } from '../../docker/order-answer.js';
import { formatImageReference, parseImageReference } from '../../jobs/image-reference.js';
import type { DeploymentFacts, OrderFacts } from './plan-facts.js';

/** What was recorded when the image first ran, so that the same bits run again. A row may hold what Docker would not take. */
export function imageToRun({ imageDigest, image }: DeploymentFacts): string {
  return imageDigest !== null && (isDigestReference(imageDigest) || isImageId(imageDigest)) ? imageDigest : image;
}

/** An id is in no registry: what its name stands for now may be another image, and then the id is not found behind it. */
export function imageToPull(deployment: DeploymentFacts): string {
  const image = imageToRun(deployment);
  return isImageId(image) ? deployment.image : image;
}

export function goneMessage(deployment: DeploymentFacts): string {
  const id = imageToRun(deployment);
  return `${deployment.image} was ${id} when it was deployed: that image is not here any more, and no registry has it. Give each build a tag of its own, and push it`;
}

/** The digest of the name that was deployed, and of no other the image goes by; null when nothing of use was said. */
export function digestOf(deployment: DeploymentFacts, inspect: OrderFacts): string | null {
  const { imageDigest, image } = deployment;
  if (imageDigest !== null && imageDigest === imageToRun(deployment)) return imageDigest;
  const { name, digest } = parseImageReference(image);
  if (digest !== undefined) return formatImageReference({ name, digest });
  const { id, digests = [] } = inspect.answer.image ?? {};
  const own = digests.map((one) => parseImageReference(one)).find((one) => one.name === name);
  return own ? formatImageReference(own) : (id ?? null);
}
