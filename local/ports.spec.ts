import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { expect, it } from '@jest/globals';
import { requireFreePort } from './ports.ts';

it('a port that is taken is told with the variable that names another one, and one that is free stays free', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  await expect(requireFreePort(port, 'LOCAL_CLOUD_PORT')).rejects.toThrow(
    `port ${port} is in use by another program: end that one, or set LOCAL_CLOUD_PORT to another port`,
  );
  other.close();
  await once(other, 'close');
  await requireFreePort(port, 'LOCAL_CLOUD_PORT');
  await requireFreePort(port, 'LOCAL_CLOUD_PORT');
});
