export { freePort as findFreePort } from '../../local/ports.ts';
