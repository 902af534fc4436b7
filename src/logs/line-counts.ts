/** Lines of a chunk: number of deployment and attempt, as in `2.1`, → how many of stdout and of stderr. */
export type LineCounts = Readonly<Record<string, readonly [stdout: number, stderr: number]>>;
