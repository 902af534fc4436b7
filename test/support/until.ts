export { until } from '../../local/until.ts';
