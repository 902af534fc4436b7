import { CloudError } from '../errors.ts';

/** How S3 answers a call for a bucket in a region that is not the bucket's. */
export type WrongRegionAnswer =
  /** 301 PermanentRedirect, without a Location header: clients that only speak HTTP must not follow. */
  | 'redirect'
  /** 400 AuthorizationHeaderMalformed: regions that were opened since 2019, and endpoints that find the bucket by DNS. */
  | 'malformed';

/** Buckets that are not in the cloud's own region, by name. */
export type Elsewhere = Map<string, { readonly region: string; readonly answer: WrongRegionAnswer }>;

/** The region a signature for this bucket must name; the cloud's own is accepted as well, for a redirect. */
export function regionToVerify(
  elsewhere: Elsewhere,
  { path, authorization = '', ours }: { path: string; authorization?: string | undefined; ours: string },
): string {
  const region = elsewhere.get(bucketOf(path))?.region;
  return region !== undefined && authorization.includes(`/${region}/s3/aws4_request`) ? region : ours;
}

/** @throws WrongRegion for a call that was signed for the cloud's own region and is about a bucket of another */
export function refuseWrongRegion(elsewhere: Elsewhere, path: string, signedFor: string): void {
  const bucket = bucketOf(path);
  const place = elsewhere.get(bucket);
  if (place !== undefined && place.region !== signedFor) throw new WrongRegion(place.answer, place.region, signedFor);
}

export function regionOf(elsewhere: Elsewhere, path: string, ours: string): string {
  return elsewhere.get(bucketOf(path))?.region ?? ours;
}

/** Also answers to HEAD, which have no body, name the bucket's region. */
export function headersOfError(error: CloudError): Readonly<Record<string, string>> {
  return error instanceof WrongRegion ? { 'x-amz-bucket-region': error.bucketRegion } : {};
}

class WrongRegion extends CloudError {
  readonly bucketRegion: string;

  constructor(answer: WrongRegionAnswer, bucketRegion: string, signedFor: string) {
    if (answer === 'redirect') super('PermanentRedirect', REDIRECT, 301);
    else {
      const message = `The authorization header is malformed; the region '${signedFor}' is wrong; expecting '${bucketRegion}'`;
      super('AuthorizationHeaderMalformed', message, 400);
    }
    this.bucketRegion = bucketRegion;
  }
}

const REDIRECT =
  'The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.';

function bucketOf(path: string): string {
  return /^\/([^/]*)/.exec(path)?.[1] ?? '';
}
