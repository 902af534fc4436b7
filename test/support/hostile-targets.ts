import type { Target } from './hostile-pages.ts';

// What a page would send to each service if it had its way.

const JSON_TYPE = { 'content-type': 'application/json' };
const FORM_TYPE = { 'content-type': 'application/x-www-form-urlencoded' };

/** @param job one that is there */
export function apiTargets(base: string, job: string): Target[] {
  const made = JSON.stringify({ name: 'made-by-a-page', image: 'web:1' });
  return [
    { method: 'GET', url: `${base}/v1/jobs` },
    { method: 'GET', url: `${base}/v1/jobs/${job}/logs?follow=true` },
    { method: 'GET', url: `${base}/v1/events` },
    { method: 'GET', url: `${base}/metrics` },
    { method: 'POST', url: `${base}/v1/jobs`, headers: JSON_TYPE, body: made },
    { method: 'PATCH', url: `${base}/v1/jobs/${job}`, headers: { 'content-type': 'application/merge-patch+json' }, body: '{"image":"web:2"}' }, // prettier-ignore
    { method: 'POST', url: `${base}/v1/jobs/${job}/stop`, headers: JSON_TYPE, body: '' },
    { method: 'DELETE', url: `${base}/v1/jobs/${job}` },
    { method: 'POST', url: `${base}/v1/tokens`, headers: JSON_TYPE, body: '{"name":"page","role":"admin"}' },
    {
      method: 'PUT',
      url: `${base}/v1/registries/docker.io`,
      headers: JSON_TYPE,
      body: '{"username":"a","password":"b"}',
    },
    { method: 'POST', url: `${base}/agent/v1/register`, headers: FORM_TYPE, body: 'document=x&signature=x&secret=x' },
  ];
}

/** @param script user data of the instances that a page would launch */
export function cloudTargets(base: string, script = '#!/bin/sh\nexit 0\n'): Target[] {
  const userData = Buffer.from(script).toString('base64');
  const image = 'resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id';
  const launch = new URLSearchParams({
    Action: 'RunInstances',
    Version: '2016-11-15',
    ImageId: image,
    InstanceType: 't3.micro',
    MinCount: '1',
    MaxCount: '1',
    UserData: userData,
  }).toString();
  const signed =
    'AWS4-HMAC-SHA256 Credential=local/20260101/us-west-2/ec2/aws4_request, SignedHeaders=host, Signature=0';
  return [
    { method: 'GET', url: `${base}/?${launch}&X-Amz-Signature=x` },
    { method: 'POST', url: `${base}/?X-Amz-Signature=x`, headers: FORM_TYPE, body: launch },
    { method: 'POST', url: `${base}/`, headers: { ...FORM_TYPE, authorization: signed }, body: launch },
    { method: 'POST', url: `${base}/`, headers: { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': 'AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken' }, body: '{}' }, // prettier-ignore
    { method: 'GET', url: `${base}/private/object?X-Amz-Signature=x` },
    { method: 'GET', url: `${base}/private?list-type=2&X-Amz-Signature=x` },
    { method: 'PUT', url: `${base}/private/object?X-Amz-Signature=x`, body: 'by a page' },
    { method: 'DELETE', url: `${base}/private/object?X-Amz-Signature=x` },
    { method: 'PUT', url: `${base}/by-a-page?X-Amz-Signature=x`, headers: { authorization: signed } },
    { method: 'GET', url: `${base}/_local/ledger` },
    { method: 'POST', url: `${base}/_local/faults`, headers: JSON_TYPE, body: '{"fault":"throttle","action":"DescribeInstances","ms":60000}' }, // prettier-ignore
  ];
}

export function metadataTargets(base: string): Target[] {
  return [
    { method: 'PUT', url: `${base}/latest/api/token`, headers: { 'x-aws-ec2-metadata-token-ttl-seconds': '60' } },
    { method: 'GET', url: `${base}/latest/user-data` },
    { method: 'GET', url: `${base}/latest/dynamic/instance-identity/document` },
  ];
}
