const CHANGING = new Set(['POST', 'PUT', 'PATCH', 'DELETE']);

/** Whether a request of this method is there to change something. */
export function isChanging(method: string): boolean {
  return CHANGING.has(method);
}
