/**
 * Whether an instance still has the address of its row, as a condition of SQL. EC2 gives the address of an instance that it
 * ended to the next one, which may serve before we know of the end: an address is that of the instance that was launched
 * last. Subnets of different zones share no address, unless they are of different networks.
 * @param instance alias of its row
 */
export function hasItsAddress(instance: string): string {
  return `NOT EXISTS (
    SELECT 1 FROM instances later
    WHERE later.private_ip = ${instance}.private_ip AND later.id <> ${instance}.id AND later.terminated_at IS NULL
      AND later.launched_at > ${instance}.launched_at
      AND (later.availability_zone = ${instance}.availability_zone) IS NOT FALSE)`;
}
