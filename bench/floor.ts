// The floor of the HTTP group: the same rows over node:http and pg, and nothing else. DATABASE_URL and PORT in the
// environment. A deployment costs five statements here: begin, job, deployment, event, commit.
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import pg from 'pg';

const pool = new pg.Pool({
  connectionString: process.env['DATABASE_URL'],
  max: 10,
  options: '-c search_path="scheduler-jobs"',
});

/** The same rows as the API reads: a job with the instance that serves. */
const JOBS = `
  SELECT j.id, j.name, j.kind, j.definition, j.secret_names, j.status, j.desired_state, j.version, j.deployment_count,
    j.created_at, j.updated_at, d.number, d.definition -> 'ports' AS ports, i.id AS instance_id, i.private_ip,
    i.public_ip, i.availability_zone, i.instance_type
  FROM jobs j
  LEFT JOIN deployments d ON d.id = j.active_deployment_id
  LEFT JOIN LATERAL (
    SELECT s.instance_id FROM attempts a JOIN assignments s ON s.attempt_id = a.id
    WHERE a.deployment_id = j.active_deployment_id AND a.phase = 'healthy' ORDER BY a.number DESC LIMIT 1
  ) healthy ON true
  LEFT JOIN instances i ON i.id = healthy.instance_id`;

createServer((request, response) => {
  answer(request).then(
    ({ status, body }) => {
      const text = JSON.stringify(body);
      response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
      response.end(text);
    },
    (error: unknown) => {
      console.error(error);
      response.writeHead(500).end();
    },
  );
}).listen(Number(process.env['PORT']), '127.0.0.1');

async function answer(request: IncomingMessage): Promise<{ status: number; body: unknown }> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://floor');
  const [, , , name, deployments] = pathname.split('/');
  if (name === undefined) {
    const values = [searchParams.get('after') ?? '', Number(searchParams.get('limit'))];
    const { rows } = await pool.query({
      name: 'list',
      text: `${JOBS} WHERE j.deleted_at IS NULL AND j.name > $1 ORDER BY j.name LIMIT $2`,
      values,
    });
    return { status: 200, body: { items: rows } };
  }
  if (request.method === 'POST' && deployments !== undefined) return { status: 202, body: await deploy(name, request) };
  const { rows } = await pool.query<object>({
    name: 'get',
    text: `${JOBS} WHERE j.name = $1 AND j.deleted_at IS NULL`,
    values: [name],
  });
  return rows[0] ? { status: 200, body: rows[0] } : { status: 404, body: {} };
}

async function deploy(name: string, request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const { image } = JSON.parse(Buffer.concat(chunks).toString()) as { image: string };
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const { rows: jobs } = await client.query<{ id: string; deployment_count: number; definition: object }>({
      name: 'count',
      text: `UPDATE jobs SET deployment_count = deployment_count + 1, updated_at = clock_timestamp() WHERE name = $1
        RETURNING id, deployment_count, definition`,
      values: [name],
    });
    const [job] = jobs;
    if (!job) throw new Error(`there is no job ${name}`);
    const { rows } = await client.query({
      name: 'insert',
      text: `INSERT INTO deployments (id, job_id, number, image, definition, trigger, deadline_at)
        VALUES ($1, $2, $3, $4, $5, 'api', clock_timestamp() + interval '900 s') RETURNING *`,
      values: [randomUUID(), job.id, job.deployment_count, image, JSON.stringify(job.definition)],
    });
    await client.query({
      name: 'event',
      text: `INSERT INTO events (type, actor, job_id, job, deployment) VALUES ('deployment.created', 'admin', $1, $2, $3)`,
      values: [job.id, name, job.deployment_count],
    });
    await client.query('COMMIT');
    return rows[0];
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}
