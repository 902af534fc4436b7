/** A guest that is frozen makes no progress: `pass` waits until the thaw. */
export class Gate {
  #thawed: PromiseWithResolvers<void> | undefined;

  get isFrozen(): boolean {
    return this.#thawed !== undefined;
  }

  async pass(): Promise<void> {
    while (this.#thawed !== undefined) await this.#thawed.promise;
  }

  freeze(): void {
    this.#thawed ??= Promise.withResolvers();
  }

  thaw(): void {
    this.#thawed?.resolve();
    this.#thawed = undefined;
  }
}
