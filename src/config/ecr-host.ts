/**
 * Hosts of private registries of ECR: `123456789012.dkr.ecr.us-west-2.amazonaws.com`, with FIPS, in China and in the
 * European Sovereign Cloud, and those that are reached by IPv6 as well (`….dkr-ecr.….on.aws`).
 */
export const ECR_HOST =
  /^(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]{1,30})\.(?:amazonaws\.(?:com|com\.cn|eu)|on\.aws)$/;
