"""What a plan makes and about what that costs a month: python3 costs.py <terraform show -json of a plan on stdin>.

List prices in US dollars of us-east-1, on demand, for 730 hours (AWS's price list, January 2026); us-west-2 has the same,
other regions differ by up to a third. What jobs cost comes on top: each is an instance of its own.
"""

import json
import sys

INSTANCES = {
    "t3.micro": 7.59, "t3.small": 15.18, "t3.medium": 30.37, "t3.large": 60.74,
    "t4g.micro": 6.13, "t4g.small": 12.26, "t4g.medium": 24.53, "t4g.large": 49.06,
}
GP3_GIB = 0.08
PUBLIC_IPV4 = 3.65
BALANCER = 16.43
ZONE = 0.50
INGRESS_DISK_GIB = 8


def price(kind, values, template):
    """Of a resource: dollars a month, and what it is; None = free; dollars are None where the price is not known here."""
    if kind == "aws_instance":
        disks = values.get("root_block_device") or [{}]
        gib = disks[0].get("volume_size") or 0
        type_ = values.get("instance_type")
        known = INSTANCES.get(type_)
        return None if known is None else known + gib * GP3_GIB, f"the API's instance, {type_}, disk {gib} GiB"
    if kind == "aws_ebs_volume":
        return values["size"] * GP3_GIB, f"Postgres's volume, {values['size']} GiB"
    if kind == "aws_eip":
        return PUBLIC_IPV4, "a public address"
    if kind == "aws_lb":
        addresses = 0 if values.get("internal") else len(values.get("subnets") or [])
        what = "the load balancer of jobs" if values.get("load_balancer_type") == "network" else "the load balancer"
        return BALANCER + addresses * PUBLIC_IPV4, f"{what} with {addresses} public addresses, without its traffic"
    if kind == "aws_autoscaling_group":
        count, type_ = values.get("max_size") or 0, template.get("instance_type")
        known = INSTANCES.get(type_)
        public = any(one.get("associate_public_ip_address") in (True, "true") for one in template.get("network_interfaces") or [])
        each = None if known is None else known + INGRESS_DISK_GIB * GP3_GIB + (PUBLIC_IPV4 if public else 0)
        what = f"the ingress of jobs, {count} × {type_}, each with {INGRESS_DISK_GIB} GiB{' and a public address' if public else ''}"
        return None if each is None else count * each, what
    if kind == "aws_route53_zone":
        return ZONE, "a private zone"
    if kind == "aws_db_instance":
        return None, f"the RDS instance, {values.get('instance_class')}"
    return None


def main():
    plan = json.load(sys.stdin)
    made = [change for change in plan.get("resource_changes", []) if "create" in change["change"]["actions"]]
    replaced = [change for change in made if "delete" in change["change"]["actions"]]
    new = [change for change in made if change not in replaced]
    gone = [change for change in plan.get("resource_changes", []) if change["change"]["actions"] == ["delete"]]
    print(f"{len(new)} resources are made, {len(replaced)} replaced, {len(gone)} taken away.")
    templates = [one["change"].get("after") for one in plan.get("resource_changes", []) if one["type"] == "aws_launch_template"]
    template = next((one for one in templates if one), {})
    prices = [price(change["type"], change["change"]["after"], template) for change in new]
    prices = [one for one in prices if one is not None]
    for dollars, what in prices:
        amount = "see AWS's price list" if dollars is None else f"{dollars:7.2f} USD a month"
        print(f"  {amount:20}  {what}")
    if prices:
        total = sum(dollars or 0 for dollars, _ in prices)
        more = " and what is not known here" if any(dollars is None for dollars, _ in prices) else ""
        print(f"  {total:7.2f} USD a month{more}, about, by the list of us-east-1; traffic, S3 and the jobs' own instances on top")


main()
