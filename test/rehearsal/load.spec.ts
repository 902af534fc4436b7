import { expectOneOutage, putOnLoad } from '../support/load.js';
import { rehearseReplacement } from '../support/replacement.js';

rehearseReplacement('replacing the API’s instance under load', { start: putOnLoad, check: expectOneOutage });
