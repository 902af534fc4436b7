const CHANGING = new Set(['POST', 'PUT', 'PATCH', 'DELETE']);

/** Whether requests of this method change something. */
export function isChanging(method: string): boolean {
  return CHANGING.has(method);
}
