// Checks docs/openapi.json with the rules of Redocly and Spectral, their warnings included: generators of clients and
// gateways fail on what these rules find.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createConfig, lintFromString } from '@redocly/openapi-core';
import spectralCore, { type RulesetDefinition } from '@stoplight/spectral-core';
import spectralParsers from '@stoplight/spectral-parsers';
import spectralRulesets from '@stoplight/spectral-rulesets';

const path = join(import.meta.dirname, '../docs/openapi.json');
const source = readFileSync(path, 'utf8');
const faults = [...(await byRedocly()), ...(await bySpectral())];
for (const { tool, rule, where, message } of faults) console.error(`${tool} ${rule} ${where}: ${message}`);
process.exitCode = faults.length === 0 ? 0 : 1;

type Fault = { tool: string; rule: string; where: string; message: string };

async function byRedocly(): Promise<Fault[]> {
  const config = await createConfig({ extends: ['recommended'] });
  const found = await lintFromString({ source, absoluteRef: path, config });
  return found.map(({ ruleId, message, location }) => ({
    tool: 'Redocly',
    rule: ruleId,
    where: location[0]?.pointer ?? '',
    message,
  }));
}

async function bySpectral(): Promise<Fault[]> {
  const spectral = new spectralCore.Spectral();
  spectral.setRuleset({ extends: [spectralRulesets.oas as RulesetDefinition] });
  const found = await spectral.run(new spectralCore.Document(source, spectralParsers.Json, path));
  return found.map(({ code, message, path: where }) => ({
    tool: 'Spectral',
    rule: String(code),
    where: where.join('/'),
    message,
  }));
}
