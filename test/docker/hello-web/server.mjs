import { createServer } from 'node:http';

const { GREETING = 'world', PORT = '8080' } = process.env;
const server = createServer((request, response) => {
  response.statusCode = request.url === '/fail' ? 500 : 200;
  response.end(JSON.stringify({ hello: GREETING }));
});
server.listen(Number(PORT), () => console.log('listening'));
const ticks = setInterval(() => console.log('tick', new Date().toISOString()), 1000);
process.on('SIGTERM', () => {
  console.log('bye');
  clearInterval(ticks);
  server.close();
  server.closeAllConnections();
});
