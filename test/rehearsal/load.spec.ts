import { expectOneOutage, putOnLoad } from '../support/load.ts';
import { rehearseReplacement } from '../support/replacement.ts';

rehearseReplacement('replacing the API’s instance under load', { start: putOnLoad, check: expectOneOutage });
