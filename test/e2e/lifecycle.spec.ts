import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { describeLifecycle } from '../support/lifecycle.ts';

describeLifecycle('a service on simulated instances', {
  createRuntime: () => createSimulatedRuntime(),
  webImage: 'hello-web:1',
  failures: {
    missing: { image: 'sim/missing:1' },
    exits: { image: 'sim/exit:3' },
    unhealthy: { image: 'sim/unhealthy:1' },
  },
});
