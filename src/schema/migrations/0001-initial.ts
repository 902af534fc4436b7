import type { MigrationInterface, QueryRunner } from 'typeorm';

export class Initial1800000000001 implements MigrationInterface {
  name = 'Initial1800000000001';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE jobs (
        id uuid NOT NULL,
        name text NOT NULL,
        kind text NOT NULL,
        definition jsonb NOT NULL,
        desired_state text NOT NULL DEFAULT 'running',
        status text NOT NULL DEFAULT 'idle',
        deployment_count integer NOT NULL DEFAULT 0,
        active_deployment_id uuid,
        next_pass_at timestamptz,
        version integer NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        deleted_at timestamptz,
        CONSTRAINT jobs_status CHECK (status IN ('idle', 'deploying', 'running', 'degraded', 'stopped', 'failed', 'succeeded', 'deleting')),
        CONSTRAINT jobs_desired_state CHECK (desired_state IN ('running', 'stopped', 'deleted')),
        CONSTRAINT jobs_kind CHECK (kind IN ('service', 'task')),
        CONSTRAINT jobs_pkey PRIMARY KEY (id)
      );

      CREATE INDEX jobs_due ON jobs (next_pass_at) WHERE next_pass_at IS NOT NULL;

      CREATE UNIQUE INDEX jobs_name_of_the_living ON jobs (name) WHERE deleted_at IS NULL;

      CREATE TABLE deployments (
        id uuid NOT NULL,
        job_id uuid NOT NULL,
        number integer NOT NULL,
        image text NOT NULL,
        image_digest text,
        image_id text,
        definition jsonb NOT NULL,
        trigger text NOT NULL,
        copied_from integer,
        status text NOT NULL DEFAULT 'queued',
        reason text,
        message text,
        failed_phase text,
        retryable boolean,
        exit_code integer,
        last_log_lines jsonb,
        deadline_at timestamptz,
        cancel_requested_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        started_at timestamptz,
        active_at timestamptz,
        ended_at timestamptz,
        CONSTRAINT deployments_trigger CHECK (trigger IN ('api', 'rollback', 'restart', 'start', 'schedule')),
        CONSTRAINT deployments_status CHECK (status IN ('queued', 'deploying', 'active', 'draining', 'superseded', 'stopped', 'succeeded', 'failed', 'cancelled')),
        CONSTRAINT deployments_pkey PRIMARY KEY (id)
      );

      CREATE INDEX deployments_open ON deployments (job_id) WHERE status IN ('queued', 'deploying', 'active', 'draining');

      CREATE UNIQUE INDEX deployments_job_number ON deployments (job_id, number);

      CREATE TABLE attempts (
        id uuid NOT NULL,
        job_id uuid NOT NULL,
        deployment_id uuid NOT NULL,
        number integer NOT NULL,
        shape_key text NOT NULL,
        priority smallint NOT NULL,
        phase text NOT NULL DEFAULT 'waiting',
        reason text,
        message text,
        counted boolean NOT NULL DEFAULT true,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        assigned_at timestamptz,
        pulling_at timestamptz,
        starting_at timestamptz,
        healthy_at timestamptz,
        stopping_at timestamptz,
        ended_at timestamptz,
        CONSTRAINT attempts_phase CHECK (phase IN ('waiting', 'assigned', 'pulling', 'starting', 'healthy', 'stopping', 'ended')),
        CONSTRAINT attempts_pkey PRIMARY KEY (id)
      );

      CREATE INDEX attempts_waiting ON attempts (shape_key, priority, created_at) WHERE phase = 'waiting';

      CREATE INDEX attempts_ended ON attempts (shape_key, ended_at) WHERE phase = 'ended';

      CREATE INDEX attempts_live ON attempts (job_id) WHERE phase <> 'ended';

      CREATE UNIQUE INDEX attempts_deployment_number ON attempts (deployment_id, number);

      CREATE TABLE orders (
        instance_id text NOT NULL,
        number integer NOT NULL,
        attempt_id uuid NOT NULL,
        purpose text NOT NULL,
        kind text NOT NULL,
        spec jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        taken_at timestamptz,
        answered_at timestamptz,
        result_status integer,
        result_error text,
        result_body bytea,
        probe_state text,
        CONSTRAINT orders_kind CHECK (kind IN ('docker', 'probe', 'dead-man', 'shutdown', 'watch-spot', 'logs')),
        CONSTRAINT orders_pkey PRIMARY KEY (instance_id, number)
      );

      CREATE INDEX orders_unanswered ON orders (instance_id, number) WHERE answered_at IS NULL;

      CREATE INDEX orders_untaken ON orders (created_at) WHERE taken_at IS NULL;

      CREATE INDEX orders_by_attempt ON orders (attempt_id, purpose, number);

      CREATE TABLE shapes (
        key text NOT NULL,
        spec jsonb NOT NULL,
        next_pass_at timestamptz,
        capacity jsonb NOT NULL DEFAULT '{}',
        verdict_reason text,
        verdict_message text,
        verdict_at timestamptz,
        verdict_is_final boolean NOT NULL DEFAULT false,
        warm integer NOT NULL DEFAULT 0,
        CONSTRAINT shapes_pkey PRIMARY KEY (key)
      );

      CREATE INDEX shapes_due ON shapes (next_pass_at) WHERE next_pass_at IS NOT NULL;

      CREATE TABLE launches (
        id uuid NOT NULL,
        shape_key text NOT NULL,
        epoch bigint NOT NULL,
        input bytea NOT NULL,
        count integer NOT NULL,
        image_id text NOT NULL,
        instance_type text NOT NULL,
        subnet_id text,
        market text NOT NULL,
        secret_hash bytea NOT NULL,
        status text NOT NULL DEFAULT 'planned',
        failure text,
        reason text,
        message text,
        tries integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        called_at timestamptz,
        next_try_at timestamptz,
        settled_at timestamptz,
        CONSTRAINT launches_status CHECK (status IN ('planned', 'unknown', 'done', 'failed')),
        CONSTRAINT launches_pkey PRIMARY KEY (id)
      );

      CREATE UNIQUE INDEX launches_secret ON launches (secret_hash);

      CREATE INDEX launches_open ON launches (shape_key) WHERE status IN ('planned', 'unknown');

      CREATE TABLE instances (
        id text NOT NULL,
        launch_id uuid,
        shape_key text,
        state text NOT NULL DEFAULT 'pending',
        state_reason text,
        availability_zone text,
        instance_type text,
        image_id text,
        private_ip text,
        public_ip text,
        launched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        observed_at timestamptz,
        missing_since timestamptz,
        token_hash bytea,
        agent_version text,
        registered_at timestamptz,
        last_seen_at timestamptz,
        unreachable_at timestamptz,
        retire_reason text,
        retired_at timestamptz,
        terminate_called_at timestamptz,
        terminated_at timestamptz,
        quarantined boolean NOT NULL DEFAULT false,
        assigned boolean NOT NULL DEFAULT false,
        CONSTRAINT instances_pkey PRIMARY KEY (id)
      );

      CREATE UNIQUE INDEX instances_token ON instances (token_hash);

      CREATE INDEX instances_by_launch ON instances (launch_id);

      CREATE INDEX instances_retiring ON instances (retired_at) WHERE retire_reason IS NOT NULL AND terminated_at IS NULL;

      CREATE INDEX instances_spare ON instances (shape_key) WHERE terminated_at IS NULL AND retire_reason IS NULL AND assigned = false;

      CREATE INDEX instances_living ON instances (shape_key) WHERE terminated_at IS NULL;

      CREATE TABLE assignments (
        attempt_id uuid NOT NULL,
        instance_id text NOT NULL,
        assigned_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT assignments_pkey PRIMARY KEY (attempt_id)
      );

      CREATE UNIQUE INDEX assignments_instance_once ON assignments (instance_id);

      CREATE TABLE owner (
        cluster text NOT NULL,
        holder text NOT NULL,
        epoch bigint NOT NULL,
        expires_at timestamptz NOT NULL,
        budgets jsonb,
        CONSTRAINT owner_pkey PRIMARY KEY (cluster)
      );

      ALTER TABLE deployments ADD CONSTRAINT deployments_job FOREIGN KEY (job_id) REFERENCES jobs(id) ON DELETE CASCADE;

      ALTER TABLE attempts ADD CONSTRAINT attempts_deployment FOREIGN KEY (deployment_id) REFERENCES deployments(id) ON DELETE CASCADE;

      ALTER TABLE orders ADD CONSTRAINT orders_attempt FOREIGN KEY (attempt_id) REFERENCES attempts(id) ON DELETE CASCADE;

      ALTER TABLE launches ADD CONSTRAINT launches_shape FOREIGN KEY (shape_key) REFERENCES shapes(key);

      ALTER TABLE instances ADD CONSTRAINT instances_launch FOREIGN KEY (launch_id) REFERENCES launches(id);

      ALTER TABLE assignments ADD CONSTRAINT assignments_attempt FOREIGN KEY (attempt_id) REFERENCES attempts(id) ON DELETE CASCADE;

      ALTER TABLE assignments ADD CONSTRAINT assignments_instance FOREIGN KEY (instance_id) REFERENCES instances(id);
    `);
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
