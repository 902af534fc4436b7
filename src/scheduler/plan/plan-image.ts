import { isDigestReference, isImageId } from '../../docker/order-answer.js';
import { formatImageReference, parseImageReference } from '../../jobs/image-reference.js';
import type { DeploymentFacts, OrderFacts } from './plan-facts.js';

/** The digest recorded when the image first ran, to run the same again. A row may hold one that Docker would refuse. */
export function imageToRun({ imageDigest, image }: DeploymentFacts): string {
  return imageDigest !== null && (isDigestReference(imageDigest) || isImageId(imageDigest)) ? imageDigest : image;
}

/** No registry has ids, so the name is pulled: it may be another image by now, and then the id is not found. */
export function imageToPull(deployment: DeploymentFacts): string {
  const image = imageToRun(deployment);
  return isImageId(image) ? deployment.image : image;
}

export function goneMessage(deployment: DeploymentFacts): string {
  const id = imageToRun(deployment);
  return `${deployment.image} was ${id} when it was deployed: that image is not here any more, and no registry has it. Give each build a tag of its own, and push it`;
}

/** The digest by the deployed name, and by no other name of the image; null when the answer has nothing of use. */
export function digestOf(deployment: DeploymentFacts, inspect: OrderFacts): string | null {
  const { imageDigest, image } = deployment;
  if (imageDigest === imageToRun(deployment)) return imageDigest;
  const { name, digest } = parseImageReference(image);
  if (digest !== undefined) return formatImageReference({ name, digest });
  const { id, digests = [] } = inspect.answer.image ?? {};
  const own = digests.map((one) => parseImageReference(one)).find((one) => one.name === name);
  return own ? formatImageReference(own) : (id ?? null);
}
