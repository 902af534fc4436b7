import { expectService, putOnOneUser } from '../support/load.ts';
import { rehearseReplacement } from '../support/replacement.ts';

// How long the API is away is measured under load, where the machine has nothing else to do: test/rehearsal/load.spec.ts.
rehearseReplacement('replacing the API’s instance', { start: putOnOneUser, check: expectService });
