/** The requests of a client for one job name, in order, with their outcomes. */

export type Operation = 'create' | 'deploy' | 'cancel' | 'rollback' | 'restart' | 'start' | 'stop' | 'delete';

/**
 * - `accepted`: 2xx. Must be true in the end.
 * - `refused`: 4xx. Nothing may come of it.
 * - `unknown`: the connection was lost, or 5xx. Either is right; which one it was is looked up and then holds.
 * - `unsent`: no process took the connection.
 */
export type Outcome = 'accepted' | 'refused' | 'unknown' | 'unsent';

export type Wanted = 'running' | 'stopped' | 'gone';

export type AskedDeployment = {
  readonly id: string;
  readonly number: number;
  readonly image: string;
  readonly greeting: string;
  /** Its cancel was accepted before it was active. */
  isCancelled: boolean;
  /** From when on it must not be started any more. */
  unwantedAtMs?: number;
};

/** As the API answers. */
export type DeploymentView = {
  readonly id: string;
  readonly number: number;
  readonly image: string;
  readonly status: string;
  readonly reason: string | null;
  readonly message: string | null;
  readonly exitCode: number | null;
  readonly copiedFrom: number | null;
  readonly cancelRequestedAt: string | null;
  readonly activeAt: string | null;
  readonly definition: { readonly env: Readonly<Record<string, string>> };
};

export type JobView = {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly desiredState: string;
  readonly activeDeployment: number | null;
  readonly latestDeployment: number | null;
  readonly instance: { readonly id: string } | null;
  readonly endpoints: readonly string[];
};

export class JobHistory {
  readonly name: string;
  /** Of the job that has the name now, or had it last. */
  jobId: string | undefined;
  wanted: Wanted = 'gone';
  /** Number of deployments when it was stopped last. */
  stoppedAt = 0;
  readonly deployments = new Map<number, AskedDeployment>();
  /** Every deployment of every job of this name, for the question whether a container was wanted. */
  readonly everything: AskedDeployment[] = [];
  /** What could not be looked up, and may still be carried out: from then on several ends are right. */
  readonly unknown: Operation[] = [];
  /** Requests of unknown outcome that were looked up: how many had been carried out. */
  resolved = { carriedOut: 0, lost: 0 };
  /** What an answer showed to be wrong at once. */
  readonly findings: string[] = [];
  readonly log: string[] = [];

  constructor(name: string) {
    this.name = name;
  }

  get isCertain(): boolean {
    return this.unknown.length === 0;
  }

  get lastNumber(): number {
    return Math.max(0, ...this.deployments.keys());
  }

  /** Which ends are right. */
  get possible(): ReadonlySet<Wanted> {
    return new Set([this.wanted, ...this.unknown.flatMap(endOf)]);
  }

  note(operation: Operation, outcome: Outcome, detail: string): void {
    this.log.push(`${new Date().toISOString()} ${operation} ${outcome} ${detail}`);
    const mustExist = this.isCertain && this.wanted !== 'gone' && operation !== 'create';
    if (outcome === 'refused' && mustExist && detail.startsWith('404 job-not-found'))
      this.findings.push(`${operation} was told that the job does not exist`);
  }

  created(job: JobView, image: string, greeting: string): void {
    this.#unwant([...this.deployments.values()]);
    this.deployments.clear();
    this.stoppedAt = 0;
    this.jobId = job.id;
    this.wanted = 'running';
    // The answer is the job's: the id of its first deployment is learnt when it is looked at.
    this.#add({ id: '', number: 1, image, greeting, isCancelled: false });
  }

  /** @param sent what the deployment must be of; null for a copy of an earlier one */
  deployed(view: DeploymentView, sent: { image: string; greeting: string | null } | null): void {
    const greeting = view.definition.env['GREETING'] ?? '';
    this.wanted = 'running';
    const known = this.deployments.get(view.number);
    if (known) return;
    const source = view.copiedFrom === null ? undefined : this.deployments.get(view.copiedFrom);
    const expected = sent ?? (source && { image: source.image, greeting: source.greeting });
    if (expected && (expected.image !== view.image || (expected.greeting ?? greeting) !== greeting))
      this.findings.push(`deployment ${view.number} is of ${view.image} ${greeting}, not ${JSON.stringify(expected)}`);
    if (this.isCertain && view.number !== this.lastNumber + 1)
      this.findings.push(`deployment ${view.number} was answered after ${this.lastNumber}`);
    this.#add({ id: view.id, number: view.number, image: view.image, greeting, isCancelled: false });
  }

  cancelled(view: DeploymentView): void {
    const deployment = this.deployments.get(view.number);
    const isOpen = view.status === 'queued' || view.status === 'deploying';
    if (!deployment || !isOpen) return;
    if (view.cancelRequestedAt === null) this.findings.push(`the cancel of ${view.number} was not written down`);
    this.#cancel(view.number);
  }

  stopped(): void {
    this.wanted = 'stopped';
    this.stoppedAt = this.lastNumber;
    this.#unwant([...this.deployments.values()]);
  }

  deleted(): void {
    this.wanted = 'gone';
    this.#unwant([...this.deployments.values()]);
  }

  /** What came of a request of unknown outcome: all of it or nothing, and nothing else. */
  resolve(operation: Operation, image: string, job: JobView | undefined, deployments: readonly DeploymentView[]): void {
    const before = this.wanted;
    const end: Wanted = !job || job.desiredState === 'deleted' ? 'gone' : (job.desiredState as Wanted);
    const news = job?.id === this.jobId ? deployments.filter(({ number }) => number > this.lastNumber) : deployments;
    const isCarriedOut = end !== before || (end !== 'gone' && news.length > 0);
    this.log.push(`${new Date().toISOString()} ${operation} was ${isCarriedOut ? 'carried out' : 'lost'}`);
    this.resolved[isCarriedOut ? 'carriedOut' : 'lost'] += 1;
    const [deployment] = news;
    if (isCarriedOut && (!endOf(operation).includes(end) || news.length > 1))
      this.findings.push(`${operation} of unknown outcome made the job ${end}, with ${news.length} deployments`);
    if (isCarriedOut && deployment && (operation === 'create' || operation === 'deploy') && deployment.image !== image)
      this.findings.push(`${operation} of ${image} made a deployment of ${deployment.image}`);
    if (operation === 'cancel') {
      const last = deployments[0];
      const isOpen = last?.status === 'queued' || last?.status === 'deploying';
      if (last && (last.status === 'cancelled' || isOpen) && last.cancelRequestedAt !== null) this.#cancel(last.number);
    }
    if (!isCarriedOut) return;
    if (end === 'gone') this.deleted();
    else if (end === 'stopped') this.stopped();
    else if (operation === 'create' && job && deployment)
      this.created(job, deployment.image, deployment.definition.env['GREETING'] ?? '');
    else {
      this.wanted = 'running';
      for (const { id, number, image: found, definition } of news)
        this.#add({ id, number, image: found, greeting: definition.env['GREETING'] ?? '', isCancelled: false });
    }
  }

  #cancel(number: number): void {
    const deployment = this.deployments.get(number);
    if (!deployment) return;
    deployment.isCancelled = true;
    this.#unwant([deployment]);
  }

  #add(deployment: AskedDeployment): void {
    this.deployments.set(deployment.number, deployment);
    this.everything.push(deployment);
  }

  #unwant(deployments: readonly AskedDeployment[]): void {
    for (const deployment of deployments) deployment.unwantedAtMs ??= Date.now();
  }
}

function endOf(operation: Operation): Wanted[] {
  if (operation === 'cancel') return [];
  if (operation === 'stop') return ['stopped'];
  return operation === 'delete' ? ['gone'] : ['running'];
}
