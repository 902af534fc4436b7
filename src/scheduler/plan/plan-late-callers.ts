/**
 * How long callers may still come by an older answer, where an ingress goes by it for `staleSeconds` while none of us
 * answers (`Cache-Control` of ingress.controller.ts).
 */
export function lateCallerSecondsOf(staleSeconds: number): number {
  return staleSeconds + BEFORE_AND_AFTER_SECONDS;
}

/**
 * An answer is gone by for a second before, and its age is counted in whole seconds: two. The lookup that then fails takes
 * three, as the one that brought the answer did, and two are from the time of a plan to its commit; one is to spare. Less
 * would stop a container, or give a host away, while callers still come.
 */
const BEFORE_AND_AFTER_SECONDS = 11;
